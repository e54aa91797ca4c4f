"""The peers of scripts/soak's long streams, with grpcio (scripts/python-peers):

    serve CERT KEY CA             an echo on a port of its own, by mutual TLS
    call ADDRESS CA STREAMS       keeps streams open, each with a message now and then, until its standard input ends

The caller prints what it counted. A stream that ends before that, and a message without its answer, have failed.
"""

import asyncio
import json
import random
import sys

import grpc

# Of ten streams, one is silent for so long between messages, the others for a few seconds.
LONG_PAUSE = 45
STREAMS_OF_A_CHANNEL = 20


class Echo(grpc.GenericRpcHandler):
    def service(self, call):
        async def echo(requests, context):
            async for request in requests:
                yield request

        return grpc.stream_stream_rpc_method_handler(echo)


async def serve(cert, key, ca):
    read = lambda path: open(path, "rb").read()
    server = grpc.aio.server(handlers=[Echo()], options=[("grpc.max_concurrent_streams", 1000)])
    identity = grpc.ssl_server_credentials([(read(key), read(cert))], read(ca), require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", identity)
    await server.start()
    print("port", port, flush=True)
    await server.wait_for_termination()


async def stream(number, channel, over, counted):
    call = channel.stream_stream("/soak.Streams/Echo")()
    try:
        while not over.is_set():
            message = f"{number} {counted['messages']} ".encode() * random.randint(1, 200)
            await call.write(message)
            answer = await asyncio.wait_for(call.read(), 30)
            if answer != message:
                raise ValueError(f"{answer!r:.100} is not the answer")
            counted["messages"] += 1
            pause = LONG_PAUSE if number % 10 == 0 else random.uniform(1, 8)
            try:
                await asyncio.wait_for(over.wait(), pause)
            except asyncio.TimeoutError:
                pass
        await call.done_writing()
        if await call.read() is not grpc.aio.EOF or await call.code() is not grpc.StatusCode.OK:
            raise ValueError("it does not end in order")
    except Exception as error:
        counted["failed"] += 1
        reason = f"{error.code()}: {error.details()}" if isinstance(error, grpc.aio.AioRpcError) else repr(error)
        counted["reasons"][reason] = counted["reasons"].get(reason, 0) + 1


async def call(address, ca, streams):
    over, counted = asyncio.Event(), {"messages": 0, "failed": 0, "reasons": {}}
    credentials = grpc.ssl_channel_credentials(open(ca, "rb").read())
    options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
    channels = [
        grpc.aio.secure_channel(address, credentials, options) for _ in range(-(-int(streams) // STREAMS_OF_A_CHANNEL))
    ]
    tasks = [
        asyncio.create_task(stream(number, channels[number % len(channels)], over, counted))
        for number in range(int(streams))
    ]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    over.set()
    await asyncio.gather(*tasks)
    print(json.dumps(counted))


asyncio.run({"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:]))
