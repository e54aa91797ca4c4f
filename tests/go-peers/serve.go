package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// How long a restless server lasts before another one takes its place.
const restless = 300 * time.Millisecond

// handler answers by the path.
type handler struct {
	mu        sync.Mutex
	cancelled int
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/echo":
		w.Header().Set("Trailer", "X-Count, X-Asked")
		w.WriteHeader(200)
		count, _ := io.Copy(flushing{w}, r.Body)
		w.Header().Set("X-Count", strconv.FormatInt(count, 10))
		w.Header().Set("X-Asked", r.Trailer.Get("X-Asked"))
	case "/down":
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		piece := pattern(64 << 10)
		for size > 0 {
			count := len(piece)
			if size < count {
				count = size
			}
			if _, err := w.Write(piece[:count]); err != nil {
				return
			}
			size -= count
		}
	case "/up":
		count, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d %v", count, err)
	case "/events":
		for number := 0; number < 20; number++ {
			fmt.Fprintf(w, "event %d\n", number)
			w.(http.Flusher).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	case "/early":
		// The request's content is not read.
		w.WriteHeader(401)
		io.WriteString(w, "no")
	case "/wait":
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			h.mu.Lock()
			h.cancelled++
			h.mu.Unlock()
		case <-time.After(20 * time.Second):
		}
	case "/cancelled":
		h.mu.Lock()
		fmt.Fprint(w, h.cancelled)
		h.mu.Unlock()
	case "/cut":
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	case "/slow":
		time.Sleep(20 * time.Millisecond)
		io.WriteString(w, "done")
	default:
		io.WriteString(w, r.Proto)
	}
}

type flushing struct{ http.ResponseWriter }

func (f flushing) Write(data []byte) (int, error) {
	count, err := f.ResponseWriter.Write(data)
	f.ResponseWriter.(http.Flusher).Flush()
	return count, err
}

// lasting is a listener that outlives the servers on it.
type lasting struct {
	net.Listener
	accepted chan net.Conn
}

func last(listener net.Listener) *lasting {
	l := &lasting{listener, make(chan net.Conn)}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			l.accepted <- conn
		}
	}()
	return l
}

// turn is what one server has of it.
type turn struct {
	*lasting
	once   sync.Once
	closed chan struct{}
}

func (l *lasting) turn() *turn { return &turn{lasting: l, closed: make(chan struct{})} }

func (t *turn) Accept() (net.Conn, error) {
	select {
	case <-t.closed:
		return nil, errors.New("closed")
	default:
	}
	select {
	case conn := <-t.accepted:
		return conn, nil
	case <-t.closed:
		return nil, errors.New("closed")
	}
}

func (t *turn) Close() error {
	t.once.Do(func() { close(t.closed) })
	return nil
}

func listen() net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	return listener
}

func serverTLS(dir string) *tls.Config {
	identity, err := tls.LoadX509KeyPair(dir+"/server.pem", dir+"/server.key")
	must(err)
	return &tls.Config{Certificates: []tls.Certificate{identity}, NextProtos: []string{"h2"}}
}

// web makes a server of net/http.
func web(h http.Handler, secure *tls.Config, streams uint32) *http.Server {
	settings := &http2.Server{MaxConcurrentStreams: streams}
	if secure == nil {
		return &http.Server{Handler: h2c.NewHandler(h, settings)}
	}
	server := &http.Server{Handler: h, TLSConfig: secure.Clone()}
	must(http2.ConfigureServer(server, settings))
	return server
}

func serveWeb(server *http.Server, listener net.Listener) {
	if server.TLSConfig != nil {
		go server.ServeTLS(listener, "", "")
	} else {
		go server.Serve(listener)
	}
}

func startWeb(name string, h http.Handler, secure *tls.Config, streams uint32) {
	listener := listen()
	serveWeb(web(h, secure, streams), listener)
	announce(name, listener)
}

// startRestlessWeb replaces its server again and again, each time with the end of its connections in order.
func startRestlessWeb(name string, h http.Handler, secure *tls.Config) {
	all := last(listen())
	announce(name, all)
	go func() {
		for {
			server := web(h, secure, 250)
			listener := all.turn()
			serveWeb(server, listener)
			time.Sleep(restless)
			// Those that were accepted are served: the next server takes the others.
			go server.Shutdown(context.Background())
		}
	}()
}

// The service of gRPC, with messages of bytes.

type raw struct{}

func (raw) Marshal(v interface{}) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string   { return "raw" }
func (raw) String() string { return "raw" }

func stream(name string, client, server bool, run func(grpc.ServerStream) error) grpc.StreamDesc {
	handle := func(_ interface{}, stream grpc.ServerStream) error { return run(stream) }
	return grpc.StreamDesc{StreamName: name, Handler: handle, ClientStreams: client, ServerStreams: server}
}

func receive(stream grpc.ServerStream) ([]byte, error) {
	var message []byte
	return message, stream.RecvMsg(&message)
}

func echo(stream grpc.ServerStream) error {
	for {
		message, err := receive(stream)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.SendMsg(&message); err != nil {
			return err
		}
	}
}

var service = grpc.ServiceDesc{
	ServiceName: "test.Go",
	HandlerType: (*interface{})(nil),
	Streams: []grpc.StreamDesc{
		stream("echo", true, true, echo),
		stream("down", false, true, func(stream grpc.ServerStream) error {
			message, err := receive(stream)
			if err != nil {
				return err
			}
			count, _ := strconv.Atoi(string(message))
			for number := 0; number < count; number++ {
				message := []byte(strconv.Itoa(number))
				if err := stream.SendMsg(&message); err != nil {
					return err
				}
			}
			return nil
		}),
		stream("slowly", false, true, func(stream grpc.ServerStream) error {
			message, err := receive(stream)
			if err != nil {
				return err
			}
			var count, millis int
			fmt.Sscan(string(message), &count, &millis)
			if err := stream.SendHeader(nil); err != nil {
				return err
			}
			for number := 0; number < count; number++ {
				time.Sleep(time.Duration(millis) * time.Millisecond)
				message := []byte(strconv.Itoa(number))
				if err := stream.SendMsg(&message); err != nil {
					return err
				}
			}
			return nil
		}),
		stream("up", true, false, func(stream grpc.ServerStream) error {
			total := 0
			for {
				message, err := receive(stream)
				if err == io.EOF {
					sum := []byte(strconv.Itoa(total))
					return stream.SendMsg(&sum)
				}
				if err != nil {
					return err
				}
				total += len(message)
			}
		}),
		stream("refuse", true, false, func(stream grpc.ServerStream) error {
			return status.Error(codes.PermissionDenied, "before the messages are read")
		}),
		stream("code", false, true, func(stream grpc.ServerStream) error {
			message, err := receive(stream)
			if err != nil {
				return err
			}
			code, _ := strconv.Atoi(string(message))
			return status.Error(codes.Code(code), "as asked: é, 100 %")
		}),
	},
}

func newGrpc(secure *tls.Config, options ...grpc.ServerOption) *grpc.Server {
	options = append(options, grpc.CustomCodec(raw{}), grpc.MaxRecvMsgSize(64<<20))
	if secure != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(secure)))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&service, new(interface{}))
	return server
}

func startGrpc(name string, secure *tls.Config, options ...grpc.ServerOption) {
	listener := listen()
	go newGrpc(secure, options...).Serve(listener)
	announce(name, listener)
}

func startRestlessGrpc(name string, secure *tls.Config) {
	all := last(listen())
	announce(name, all)
	go func() {
		for {
			server := newGrpc(secure)
			go server.Serve(all.turn())
			time.Sleep(restless)
			go server.GracefulStop()
		}
	}()
}

func announce(name string, listener net.Listener) {
	fmt.Printf("%s %s\n", name, listener.Addr())
}

func serve(dir string) {
	h := &handler{}
	secure := serverTLS(dir)
	startWeb("web-plain", h, nil, 250)
	startWeb("web-tls", h, secure, 250)
	startWeb("web-one", h, secure, 1)
	startRestlessWeb("web-restless", h, secure)
	startGrpc("grpc-plain", nil)
	startGrpc("grpc-tls", secure)
	startGrpc("grpc-one", secure, grpc.MaxConcurrentStreams(1))
	startGrpc("grpc-aged", secure, grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: restless, MaxConnectionAgeGrace: 10 * time.Second,
	}))
	startGrpc("grpc-lively", secure, grpc.KeepaliveParams(keepalive.ServerParameters{
		Time: time.Second, Timeout: 5 * time.Second,
	}))
	startRestlessGrpc("grpc-restless", secure)
	fmt.Println("ready")
	// It ends with its standard input.
	io.Copy(io.Discard, os.Stdin)
}
