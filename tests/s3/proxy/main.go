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
	"strconv"
	"strings"
	"sync"
	"time"
)

// Settings say what becomes of requests. The shares are of all of them, drawn by Seed, but no more
// than MostStalls stall (0: any number); Hold numbers the writing request (0: none) that is held up
// for ever, "before" or "after" the server had it.
type Settings struct {
	LatencyMs  float64
	Refuse     float64
	Reset      float64
	Stall      float64
	MostStalls int
	StallS     float64
	Seed       int64
	Hold       int
	When       string
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
	case draw < settings.Refuse+settings.Reset+settings.Stall &&
		(settings.MostStalls == 0 || p.counts.Stalls < settings.MostStalls):
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
func (p *proxy) serve(connection net.Conn) {
	defer connection.Close()
	front := newPeer(connection)
	var back *peer
	for {
		request, err := front.readHead()
		if err != nil {
			return
		}
		fault, held, settings, released := p.next(request.method())
		time.Sleep(time.Duration(settings.LatencyMs * float64(time.Millisecond)))
		if held && settings.When == "before" {
			p.reach()
			fault = "gone"
		}
		switch fault {
		case "refuse":
			if !request.waits {
				_ = front.copyBody(request, io.Discard)
			}
			fmt.Fprintf(connection, refusal, len(slowDown), slowDown)
			return
		case "reset":
			reset(connection)
			return
		case "stall":
			select {
			case <-time.After(time.Duration(settings.StallS * float64(time.Second))):
			case <-released:
			}
			reset(connection)
			return
		case "gone":
			<-released
			reset(connection)
			return
		}
		if back == nil {
			server, err := net.Dial("tcp", p.server)
			if err != nil {
				log.Print(err)
				reset(connection)
				return
			}
			defer server.Close()
			back = newPeer(server)
		}
		unheard := held || fault == "reset after"
		last, err := relay(request, front, back, unheard)
		if held {
			p.reach()
			<-released
		}
		if unheard || err != nil {
			reset(connection)
			return
		}
		if last {
			return
		}
	}
}

// relay lets the server answer a request, and says whether it is the last one of this connection;
// unheard: nobody gets the answer. Bytes are passed on as they come.
func relay(request *head, front, back *peer, unheard bool) (bool, error) {
	_, _ = back.out.Write(request.raw)
	if !request.waits {
		if err := front.copyBody(request, back.out); err != nil {
			return true, err
		}
	}
	if err := back.out.Flush(); err != nil {
		return true, err
	}
	answer, err := back.readHead()
	if err == nil && answer.status() == http.StatusContinue {
		_, _ = front.out.Write(answer.raw)
		if err := front.out.Flush(); err != nil {
			return true, err
		}
		if err := front.copyBody(request, back.out); err != nil {
			return true, err
		}
		if err := back.out.Flush(); err != nil {
			return true, err
		}
		answer, err = back.readHead()
	}
	if err != nil {
		return true, err
	}
	var to io.Writer = front.out
	if unheard {
		to = io.Discard
	}
	_, _ = to.Write(answer.raw)
	if answer.hasBody(request.method()) {
		if err := back.copyBody(answer, to); err != nil {
			return true, err
		}
	}
	return answer.closes, front.out.Flush()
}

// peer is one end of a connection.
type peer struct {
	in  *bufio.Reader
	out *bufio.Writer
}

func newPeer(connection net.Conn) *peer {
	return &peer{bufio.NewReaderSize(connection, buffered), bufio.NewWriterSize(connection, buffered)}
}

// head is what stands before a body, and what it says of it.
type head struct {
	raw                    []byte
	length                 int64
	chunked, waits, closes bool
}

func (p *peer) readHead() (*head, error) {
	found := &head{}
	for {
		line, err := p.in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		found.raw = append(found.raw, line...)
		name, value, _ := strings.Cut(string(line), ":")
		value = strings.TrimSpace(value)
		switch {
		case len(line) <= 2:
			return found, nil
		case strings.EqualFold(name, "Content-Length"):
			if found.length, err = strconv.ParseInt(value, 10, 64); err != nil {
				return nil, err
			}
		case strings.EqualFold(name, "Transfer-Encoding"):
			found.chunked = strings.EqualFold(value, "chunked")
		case strings.EqualFold(name, "Expect"):
			found.waits = strings.EqualFold(value, "100-continue")
		case strings.EqualFold(name, "Connection"):
			found.closes = strings.EqualFold(value, "close")
		}
	}
}

func (h *head) method() string {
	method, _, _ := strings.Cut(string(h.raw[:min(16, len(h.raw))]), " ")
	return method
}

func (h *head) status() int {
	words := strings.Fields(string(h.raw[:min(16, len(h.raw))]))
	if len(words) < 2 {
		return 0
	}
	status, _ := strconv.Atoi(words[1])
	return status
}

func (h *head) hasBody(method string) bool {
	status := h.status()
	return method != http.MethodHead && status != http.StatusNoContent && status != http.StatusNotModified
}

// copyBody passes on what follows a head.
func (p *peer) copyBody(of *head, to io.Writer) error {
	if !of.chunked {
		_, err := io.CopyN(to, p.in, of.length)
		return err
	}
	for {
		line, err := p.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		_, _ = to.Write(line)
		digits, _, _ := strings.Cut(strings.TrimSpace(string(line)), ";")
		size, err := strconv.ParseInt(digits, 16, 64)
		if err != nil {
			return err
		}
		if size > 0 {
			if _, err := io.CopyN(to, p.in, size+2); err != nil {
				return err
			}
			continue
		}
		trailer, err := p.readHead() // it ends as a head does
		if err == nil {
			_, err = to.Write(trailer.raw)
		}
		return err
	}
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
