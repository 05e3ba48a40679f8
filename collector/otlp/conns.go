package otlp

import (
	"net"
	"net/netip"
	"sync"
)

// connLimit bounds the open connections of all its listeners together, and
// those of one address. A connection over a limit is closed at once: waiting
// in the queue of the kernel would let whoever holds the limit lock out
// everybody else without a trace.
type connLimit struct {
	max, perIP int

	mu   sync.Mutex
	open int
	byIP map[netip.Addr]int
}

func newConnLimit(most, perIP int) *connLimit {
	return &connLimit{max: most, perIP: perIP, byIP: make(map[netip.Addr]int)}
}

// listen opens a TCP port whose connections count towards the limit. refused
// is called for each connection that was closed because of it.
func (l *connLimit) listen(addr string, refused func()) (net.Listener, error) {
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &limitListener{Listener: lis, limit: l, refused: refused}, nil
}

func (l *connLimit) admit(ip netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.max || l.byIP[ip] >= l.perIP {
		return false
	}
	l.open++
	l.byIP[ip]++
	return true
}

func (l *connLimit) leave(ip netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.byIP[ip]--; l.byIP[ip] == 0 {
		delete(l.byIP, ip)
	}
}

type limitListener struct {
	net.Listener
	limit   *connLimit
	refused func()
}

// Accept returns the next connection within the limit.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		var ip netip.Addr
		if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
			ip = tcp.AddrPort().Addr().Unmap()
		}
		if l.limit.admit(ip) {
			return &limitConn{Conn: c, leave: sync.OnceFunc(func() { l.limit.leave(ip) })}, nil
		}
		c.Close()
		l.refused()
	}
}

type limitConn struct {
	net.Conn
	leave func()
}

// Close closes the connection and gives its place to another.
func (c *limitConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
