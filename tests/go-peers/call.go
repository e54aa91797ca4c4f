package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// clients is what the cases call.
type clients struct {
	dir       string
	addresses map[string]string
}

func (c *clients) trust() *tls.Config {
	pem, err := os.ReadFile(c.dir + "/ca.pem")
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, ServerName: "localhost"}
}

// secure: whether the listener of this name has TLS.
func secure(name string) bool { return !strings.HasSuffix(name, "plain") }

func (c *clients) web(name string) *http.Client {
	transport := &http2.Transport{TLSClientConfig: c.trust()}
	if !secure(name) {
		transport.AllowHTTP = true
		transport.DialTLS = func(network, address string, _ *tls.Config) (net.Conn, error) {
			return net.Dial(network, address)
		}
	}
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

func (c *clients) url(name, path string) string {
	scheme := "http"
	if secure(name) {
		scheme = "https"
	}
	return scheme + "://" + c.addresses[name] + path
}

func (c *clients) grpc(name string, options ...grpc.DialOption) *grpc.ClientConn {
	options = append(options, grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(64<<20)))
	if secure(name) {
		options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(c.trust())))
	} else {
		options = append(options, grpc.WithInsecure())
	}
	conn, err := grpc.Dial(c.addresses[name], options...)
	must(err)
	return conn
}

func ask(client *http.Client, request *http.Request) (*http.Response, []byte, error) {
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response, content, err
}

func get(client *http.Client, url string) (string, error) {
	request, _ := http.NewRequest("GET", url, nil)
	response, content, err := ask(client, request)
	if err != nil {
		return "", err
	}
	if response.StatusCode != 200 {
		return "", fmt.Errorf("status %d: %s", response.StatusCode, content)
	}
	return string(content), nil
}

// beside runs so many at once, and returns the first error.
func beside(count int, run func(number int) error) error {
	failed := make(chan error, count)
	for number := 0; number < count; number++ {
		go func(number int) { failed <- run(number) }(number)
	}
	var first error
	for number := 0; number < count; number++ {
		if err := <-failed; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func echoes(client *http.Client, url string, size int) error {
	content := pattern(size)
	// Of unknown length, and to be sent again after a GOAWAY.
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	request, _ := http.NewRequest("POST", url, nil)
	request.Body, _ = body()
	request.GetBody = body
	request.ContentLength = -1
	request.Trailer = http.Header{"X-Asked": nil}
	request.Trailer.Set("X-Asked", "yes")
	response, returned, err := ask(client, request)
	switch {
	case err != nil:
		return err
	case response.StatusCode != 200:
		return fmt.Errorf("%d bytes: status %d", size, response.StatusCode)
	case !bytes.Equal(content, returned):
		return fmt.Errorf("%d bytes became %d", size, len(returned))
	case response.Trailer.Get("X-Count") != strconv.Itoa(size), response.Trailer.Get("X-Asked") != "yes":
		return fmt.Errorf("trailers: %v", response.Trailer)
	}
	return nil
}

func bigBodies(c *clients, name string) error {
	client := c.web(name)
	size := 64 << 20
	content, err := get(client, c.url(name, "/down?size="+strconv.Itoa(size)))
	if err != nil || len(content) != size {
		return fmt.Errorf("down: %d bytes, %v", len(content), err)
	}
	request, _ := http.NewRequest("POST", c.url(name, "/up"), bytes.NewReader(pattern(size)))
	_, answer, err := ask(client, request)
	if err != nil || string(answer) != fmt.Sprintf("%d <nil>", size) {
		return fmt.Errorf("up: %s, %v", answer, err)
	}
	return nil
}

func events(c *clients, name string) error {
	request, _ := http.NewRequest("GET", c.url(name, "/events"), nil)
	response, err := c.web(name).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	reads, total, piece := 0, 0, make([]byte, 4096)
	for {
		count, err := response.Body.Read(piece)
		reads, total = reads+1, total+count
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if reads < 10 || total != 170 {
		return fmt.Errorf("%d bytes in %d reads", total, reads)
	}
	return nil
}

// early: the answer comes while the upload is under way, and the connection serves on.
func early(c *clients, name string) error {
	client := c.web(name)
	for number := 0; number < 20; number++ {
		reader, writer := io.Pipe()
		go func() {
			for count := 0; count < 200; count++ {
				if _, err := writer.Write(pattern(32 << 10)); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
			writer.Close()
		}()
		request, _ := http.NewRequest("POST", c.url(name, "/early"), reader)
		response, content, err := ask(client, request)
		reader.Close()
		if err != nil || response.StatusCode != 401 || string(content) != "no" {
			return fmt.Errorf("%v %s", err, content)
		}
	}
	return nil
}

func resets(c *clients, name string) error {
	client := c.web(name)
	before, err := get(client, c.url(name, "/cancelled"))
	if err != nil {
		return err
	}
	for number := 0; number < 20; number++ {
		context, cancel := context.WithCancel(context.Background())
		request, _ := http.NewRequestWithContext(context, "GET", c.url(name, "/wait"), nil)
		response, err := client.Do(request)
		cancel()
		if err != nil {
			return err
		}
		response.Body.Close()
	}
	first, _ := strconv.Atoi(before)
	for attempt := 0; attempt < 100; attempt++ {
		after, err := get(client, c.url(name, "/cancelled"))
		if err != nil {
			return err
		}
		if last, _ := strconv.Atoi(after); last >= first+20 {
			break
		}
		if attempt == 99 {
			return fmt.Errorf("%s cancelled of %s and 20", after, before)
		}
		time.Sleep(50 * time.Millisecond)
	}
	// What the server cuts does not seem whole.
	content, err := get(client, c.url(name, "/cut"))
	var reset http2.StreamError
	if !errors.As(err, &reset) {
		return fmt.Errorf("a response that was cut: %q, %v", content, err)
	}
	return nil
}

// underLoad asks for a while without pause, and returns how often.
func underLoad(clients int, time_ time.Duration, one func(client int) error) (int64, error) {
	var count int64
	over := time.Now().Add(time_)
	err := beside(clients, func(number int) error {
		for time.Now().Before(over) {
			if err := one(number); err != nil {
				return fmt.Errorf("after %d: %w", atomic.LoadInt64(&count), err)
			}
			atomic.AddInt64(&count, 1)
		}
		return nil
	})
	return count, err
}

func restlessWeb(c *clients, name string) error {
	client := c.web(name)
	count, err := underLoad(16, 6*time.Second, func(number int) error {
		if number%2 == 0 {
			_, err := get(client, c.url(name, "/slow"))
			return err
		}
		return echoes(client, c.url(name, "/echo"), 50_000)
	})
	fmt.Printf("        %d requests\n", count)
	return err
}

func streamsOfOne(c *clients, name string) error {
	client := c.web(name)
	return beside(30, func(int) error {
		_, err := get(client, c.url(name, "/slow"))
		return err
	})
}

// Calls of gRPC.

var kind = grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

func open(ctx context.Context, conn *grpc.ClientConn, method string) (grpc.ClientStream, error) {
	return conn.NewStream(ctx, &kind, "/test.Go/"+method)
}

// exchange sends messages, and returns all answers.
func exchange(ctx context.Context, conn *grpc.ClientConn, method string, messages ...[]byte) ([][]byte, error) {
	stream, err := open(ctx, conn, method)
	if err != nil {
		return nil, err
	}
	go func() {
		for at := range messages {
			if stream.SendMsg(&messages[at]) != nil {
				return
			}
		}
		stream.CloseSend()
	}()
	var answers [][]byte
	for {
		var answer []byte
		err := stream.RecvMsg(&answer)
		if err == io.EOF {
			return answers, nil
		}
		if err != nil {
			return answers, err
		}
		answers = append(answers, answer)
	}
}

func minute() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

func echoed(conn *grpc.ClientConn, sizes ...int) error {
	ctx, cancel := minute()
	defer cancel()
	var messages [][]byte
	for _, size := range sizes {
		messages = append(messages, pattern(size))
	}
	answers, err := exchange(ctx, conn, "echo", messages...)
	if err != nil {
		return err
	}
	if len(answers) != len(messages) {
		return fmt.Errorf("%d answers to %d messages", len(answers), len(messages))
	}
	for at := range messages {
		if !bytes.Equal(answers[at], messages[at]) {
			return fmt.Errorf("message %d is another one", at)
		}
	}
	return nil
}

func calls(c *clients, name string) error {
	conn := c.grpc(name)
	defer conn.Close()
	if err := beside(100, func(number int) error { return echoed(conn, 0, number*1000, 10, 70_000) }); err != nil {
		return fmt.Errorf("beside each other: %w", err)
	}
	if err := echoed(conn, 16<<20); err != nil {
		return fmt.Errorf("a long message: %w", err)
	}
	ctx, cancel := minute()
	defer cancel()
	answers, err := exchange(ctx, conn, "down", []byte("20000"))
	if err != nil || len(answers) != 20000 || string(answers[19999]) != "19999" {
		return fmt.Errorf("down: %d, %v", len(answers), err)
	}
	parts := make([][]byte, 1000)
	for at := range parts {
		parts[at] = pattern(at * 10)
	}
	answers, err = exchange(ctx, conn, "up", parts...)
	if err != nil || len(answers) != 1 || string(answers[0]) != "4995000" {
		return fmt.Errorf("up: %s, %v", answers, err)
	}
	return nil
}

func statuses(c *clients, name string) error {
	conn := c.grpc(name)
	defer conn.Close()
	for code := 1; code <= 16; code++ {
		ctx, cancel := minute()
		_, err := exchange(ctx, conn, "code", []byte(strconv.Itoa(code)))
		cancel()
		found := status.Convert(err)
		if found.Code() != codes.Code(code) || found.Message() != "as asked: é, 100 %" {
			return fmt.Errorf("%d became %v", code, err)
		}
	}
	// A refusal while messages are sent.
	for number := 0; number < 20; number++ {
		ctx, cancel := minute()
		stream, err := open(ctx, conn, "refuse")
		message := pattern(100_000)
		for err == nil {
			err = stream.SendMsg(&message)
		}
		var answer []byte
		if err == io.EOF {
			err = stream.RecvMsg(&answer)
		}
		cancel()
		if status.Code(err) != codes.PermissionDenied {
			return fmt.Errorf("a refusal became %v", err)
		}
	}
	return nil
}

func deadlines(c *clients, name string) error {
	conn := c.grpc(name)
	defer conn.Close()
	return beside(20, func(number int) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(100+10*number)*time.Millisecond)
		defer cancel()
		answers, err := exchange(ctx, conn, "slowly", []byte("100 30"))
		if status.Code(err) != codes.DeadlineExceeded || len(answers) > 20 {
			return fmt.Errorf("%d answers, %v", len(answers), err)
		}
		return nil
	})
}

func restlessGrpc(c *clients, name string) error {
	conn := c.grpc(name)
	defer conn.Close()
	count, err := underLoad(16, 6*time.Second, func(number int) error {
		if number%2 == 0 {
			return echoed(conn, 100, 20_000)
		}
		ctx, cancel := minute()
		defer cancel()
		answers, err := exchange(ctx, conn, "slowly", []byte("5 10"))
		if err == nil && len(answers) != 5 {
			err = fmt.Errorf("%d answers", len(answers))
		}
		return err
	})
	fmt.Printf("        %d calls\n", count)
	return err
}

func oneStream(c *clients, name string) error {
	conn := c.grpc(name)
	defer conn.Close()
	return beside(30, func(int) error {
		ctx, cancel := minute()
		defer cancel()
		answers, err := exchange(ctx, conn, "slowly", []byte("2 5"))
		if err == nil && len(answers) != 2 {
			err = fmt.Errorf("%d answers", len(answers))
		}
		return err
	})
}

// quiet: calls that are silent, and some that are not, for so long that PINGs are sent. A server of gRPC ends connections of
// peers that send too many of them.
func quiet(c *clients, name string, time_ time.Duration) error {
	conn := c.grpc(name, grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}))
	defer conn.Close()
	every := []time.Duration{time_, 7 * time.Second, 3 * time.Second}
	return beside(len(every), func(number int) error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time_)
		defer cancel()
		count := int(time_ / every[number])
		answers, err := exchange(ctx, conn, "slowly", []byte(fmt.Sprint(count, every[number].Milliseconds())))
		if err != nil || len(answers) != count {
			return fmt.Errorf("a message each %v: %d answers, %v", every[number], len(answers), err)
		}
		return nil
	})
}

func call(dir string, addresses map[string]string) bool {
	c := &clients{dir, addresses}
	long := 45 * time.Second
	if text := os.Getenv("QUIET_SECONDS"); text != "" {
		seconds, err := strconv.Atoi(text)
		must(err)
		long = time.Duration(seconds) * time.Second
	}
	type test struct {
		what, name string
		run        func(*clients, string) error
	}
	var tests []test
	for _, name := range []string{"web-plain", "web-tls"} {
		hundred := func(c *clients, name string) error {
			client := c.web(name)
			return beside(100, func(number int) error { return echoes(client, c.url(name, "/echo"), number*5000) })
		}
		tests = append(tests,
			test{"100 streams at once, with trailers", name, hundred},
			test{"bodies of 64 MiB", name, bigBodies},
			test{"events as they come", name, events},
			test{"answers before the upload's end", name, early},
			test{"resets both ways", name, resets})
	}
	tests = append(tests,
		test{"one stream at a time", "web-one", streamsOfOne},
		test{"GOAWAY under load", "web-restless", restlessWeb})
	for _, name := range []string{"grpc-plain", "grpc-tls"} {
		tests = append(tests,
			test{"all kinds of calls", name, calls},
			test{"statuses, and a refusal while messages are sent", name, statuses},
			test{"deadlines", name, deadlines})
	}
	tests = append(tests,
		test{"one stream at a time", "grpc-one", oneStream},
		test{"connections of a short life", "grpc-aged", restlessGrpc},
		test{"GracefulStop under load", "grpc-restless", restlessGrpc},
		test{"quiet calls", "grpc-tls", func(c *clients, name string) error { return quiet(c, name, long) }},
		test{"quiet calls, and PINGs of the server", "grpc-lively", func(c *clients, name string) error { return quiet(c, name, long) }})
	if only := os.Getenv("ONLY"); only != "" {
		all := tests
		tests = nil
		for _, one := range all {
			if strings.Contains(one.name+" "+one.what, only) {
				tests = append(tests, one)
			}
		}
	}
	var mu sync.Mutex
	fine := true
	report := func(test test, begun time.Time, err error) {
		mu.Lock()
		defer mu.Unlock()
		verdict := "ok"
		if err != nil {
			verdict, fine = "FAILED", false
		}
		fmt.Printf("%-6s  %-13s %-48s %6.1f s\n", verdict, test.name, test.what, time.Since(begun).Seconds())
		if err != nil {
			fmt.Printf("        %v\n", err)
		}
	}
	var quietOnes sync.WaitGroup
	for _, one := range tests {
		one := one
		if strings.HasPrefix(one.what, "quiet") {
			quietOnes.Add(1)
			go func() {
				defer quietOnes.Done()
				begun := time.Now()
				report(one, begun, one.run(c, one.name))
			}()
		}
	}
	for _, one := range tests {
		if !strings.HasPrefix(one.what, "quiet") {
			begun := time.Now()
			report(one, begun, one.run(c, one.name))
		}
	}
	quietOnes.Wait()
	return fine
}
