// A proxy before an S3 server, for tests: it is slow, refuses, resets and stalls as it is told, and
// can stop the world at a request, so that who sent it can be killed there.
//
//	proxy BACKEND    e.g. http://127.0.0.1:7070; prints two addresses: its own, and its control's
//
// Control: POST / with JSON settings; GET / says what has passed.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"math/rand"
	"net"
	"net/http"
	"net/http/httputil"
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
	forward  *httputil.ReverseProxy
}

const slowDown = `<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`

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

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, held, settings, released := p.next(r.Method)
	time.Sleep(time.Duration(settings.LatencyMs * float64(time.Millisecond)))
	if held && settings.When == "before" {
		p.reach()
		fault = "gone"
	}
	switch fault {
	case "refuse":
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, slowDown)
		return
	case "reset":
		reset(w)
		return
	case "stall":
		select {
		case <-time.After(time.Duration(settings.StallS * float64(time.Second))):
		case <-released:
		}
		reset(w)
		return
	case "gone":
		<-released
		reset(w)
		return
	case "reset after":
		p.forward.ServeHTTP(&unheard{header: http.Header{}}, r)
		reset(w)
		return
	}
	if held {
		p.forward.ServeHTTP(&unheard{header: http.Header{}}, r)
		p.reach()
		<-released
		reset(w)
		return
	}
	p.forward.ServeHTTP(w, r)
}

// unheard takes an answer that nobody gets.
type unheard struct{ header http.Header }

func (u *unheard) Header() http.Header            { return u.header }
func (u *unheard) WriteHeader(int)                {}
func (u *unheard) Write(data []byte) (int, error) { return len(data), nil }

func reset(w http.ResponseWriter) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
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
	forward := &httputil.ReverseProxy{
		// The host stays as the client signed it.
		Director:  func(r *http.Request) { r.URL.Scheme, r.URL.Host = backend.Scheme, backend.Host },
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		ErrorLog:  log.New(os.Stderr, "", 0),
	}
	p := &proxy{forward: forward, released: make(chan struct{})}
	p.set(Settings{})
	front, back := listen(), listen()
	fmt.Printf("http://%s\nhttp://%s\n", front.Addr(), back.Addr())
	go func() { log.Fatal(http.Serve(back, http.HandlerFunc(p.control))) }()
	log.Fatal(http.Serve(front, p))
}

func listen() net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	return listener
}
