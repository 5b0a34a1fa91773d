// A proxy before an S3 server, for tests: it is slow, refuses, resets and stalls as it is told, and
// can stop the world at a request, so that who sent it can be killed there.
//
//	proxy BACKEND    e.g. http://127.0.0.1:7070; prints two addresses: its own, and its control's
//
// Control: POST / with JSON settings; GET / says what has passed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"
)

// Settings say what becomes of requests. The shares are of all of them, drawn by Seed; Hold numbers
// the writing request (0: none) that is held up for ever, "before" or "after" the server had it.
type Settings struct {
	LatencyMs float64
	Refuse    float64
	Reset     float64
	Stall     float64
	StallS    float64
	Seed      int64
	Hold      int
	When      string
}

// Counts say what has passed since the last settings.
type Counts struct {
	Requests, Writes, Refused, Resets, Stalls int
	Methods                                   map[string]int
	Reached                                   bool
}

type proxy struct {
	mutex    sync.Mutex
	settings Settings
	counts   Counts
	draws    *rand.Rand
	released chan struct{}
	server   string
}

const buffered = 1 << 16

const slowDown = `<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`

const refusal = "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n" +
	"Content-Length: %d\r\n\r\n%s"

func (p *proxy) set(settings Settings) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	close(p.released)
	p.released = make(chan struct{})
	p.settings = settings
	p.counts = Counts{Methods: map[string]int{}}
	p.draws = rand.New(rand.NewSource(settings.Seed))
}

// next decides on a request: what fault it meets, and whether it is the one to be held.
func (p *proxy) next(method string) (fault string, held bool, settings Settings, released chan struct{}) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	settings, released = p.settings, p.released
	p.counts.Requests++
	p.counts.Methods[method]++
	if method != http.MethodGet && method != http.MethodHead {
		p.counts.Writes++
		held = p.counts.Writes == settings.Hold
	}
	if p.counts.Reached { // the world stands still
		return "gone", false, settings, released
	}
	draw := p.draws.Float64()
	switch {
	case draw < settings.Refuse:
		p.counts.Refused++
		fault = "refuse"
	case draw < settings.Refuse+settings.Reset:
		p.counts.Resets++
		fault = "reset"
		if p.draws.Intn(2) == 0 {
			fault = "reset after"
		}
	case draw < settings.Refuse+settings.Reset+settings.Stall:
		p.counts.Stalls++
		fault = "stall"
	}
	return fault, held, settings, released
}

func (p *proxy) reach() {
	p.mutex.Lock()
	p.counts.Reached = true
	p.mutex.Unlock()
}

// serve answers the requests of a connection, one after another, over one of its own to the server.
func (p *proxy) serve(front net.Conn) {
	defer front.Close()
	asked := bufio.NewReaderSize(front, buffered)
	var back *backend
	for {
		request, err := http.ReadRequest(asked)
		if err != nil {
			return
		}
		fault, held, settings, released := p.next(request.Method)
		time.Sleep(time.Duration(settings.LatencyMs * float64(time.Millisecond)))
		if held && settings.When == "before" {
			p.reach()
			fault = "gone"
		}
		switch fault {
		case "refuse":
			if !waits(request) {
				_, _ = io.Copy(io.Discard, request.Body)
			}
			fmt.Fprintf(front, refusal, len(slowDown), slowDown)
			return
		case "reset":
			reset(front)
			return
		case "stall":
			select {
			case <-time.After(time.Duration(settings.StallS * float64(time.Second))):
			case <-released:
			}
			reset(front)
			return
		case "gone":
			<-released
			reset(front)
			return
		}
		if back == nil {
			if back, err = p.dial(); err != nil {
				log.Print(err)
				reset(front)
				return
			}
			defer back.Close()
		}
		if waits(request) {
			request.Header.Del("Expect")
			fmt.Fprint(front, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		unheard := held || fault == "reset after"
		last, err := back.answer(request, front, unheard)
		if held {
			p.reach()
			<-released
		}
		if unheard || err != nil {
			reset(front)
			return
		}
		if last {
			return
		}
	}
}

// waits says whether the request's body comes only when it is asked for.
func waits(request *http.Request) bool {
	return request.Header.Get("Expect") == "100-continue"
}

// backend is a connection to the server.
type backend struct {
	net.Conn
	answers *bufio.Reader
	out     *bufio.Writer
}

func (p *proxy) dial() (*backend, error) {
	connection, err := net.Dial("tcp", p.server)
	if err != nil {
		return nil, err
	}
	in, out := bufio.NewReaderSize(connection, buffered), bufio.NewWriterSize(connection, buffered)
	return &backend{connection, in, out}, nil
}

// answer lets the server answer a request, and says whether it is the last one of this connection;
// unheard: nobody gets the answer.
func (b *backend) answer(request *http.Request, front net.Conn, unheard bool) (bool, error) {
	if request.Header.Get("User-Agent") == "" {
		request.Header.Set("User-Agent", "") // else Go names itself
	}
	if err := request.Write(b.out); err != nil {
		return true, err
	}
	if err := b.out.Flush(); err != nil {
		return true, err
	}
	response, err := http.ReadResponse(b.answers, request)
	if err != nil {
		return true, err
	}
	defer response.Body.Close()
	if unheard {
		_, err = io.Copy(io.Discard, response.Body)
		return true, err
	}
	out := bufio.NewWriterSize(front, buffered)
	if err := response.Write(out); err != nil {
		return true, err
	}
	return response.Close, out.Flush()
}

func reset(connection net.Conn) {
	if tcp, ok := connection.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = connection.Close()
}

func (p *proxy) control(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		var settings Settings
		if err := json.NewDecoder(r.Body).Decode(&settings); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		p.set(settings)
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	_ = json.NewEncoder(w).Encode(p.counts)
}

func main() {
	backend, err := url.Parse(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	p := &proxy{server: backend.Host, released: make(chan struct{})}
	p.set(Settings{})
	front, back := listen(), listen()
	fmt.Printf("http://%s\nhttp://%s\n", front.Addr(), back.Addr())
	go func() { log.Fatal(http.Serve(back, http.HandlerFunc(p.control))) }()
	for {
		connection, err := front.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go p.serve(connection)
	}
}

func listen() net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	return listener
}
