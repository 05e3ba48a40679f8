package otlp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	sink := func([]byte) (Rejected, error) { return Rejected{}, nil }
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const free = "127.0.0.1:0"
	for _, tc := range []struct {
		name string
		o    Options
		want []string
	}{
		{name: "no sink and no sense", o: Options{MaxBytes: -1, MaxConns: -1}, want: []string{"no sink", "-1 bytes a request", "-1 connections"}},
		{name: "in flight less than one request", o: Options{Sink: sink, MaxBytes: 1000, MaxInFlight: 1999}, want: []string{"want at least 2000"}},
		{name: "more than 32 bits hold", o: Options{Sink: sink, MaxBytes: 1 << 30}, want: []string{"want 1 to 536870912"}},
		{name: "port taken", o: Options{Sink: sink, GRPCListen: free, HTTPListen: taken.Addr().String()}, want: []string{"OTLP/HTTP", "address already in use"}},
		{name: "no port", o: Options{Sink: sink, GRPCListen: "localhost", HTTPListen: free}, want: []string{"OTLP/gRPC", "missing port"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := New(tc.o)
			if err == nil {
				s.Close()
				t.Fatal("New: no error")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("New: %v, want %q in it", err, want)
				}
			}
		})
	}

	o := Options{Sink: sink}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{o.GRPCListen, o.HTTPListen} {
		if host, _, _ := net.SplitHostPort(addr); !net.ParseIP(host).IsLoopback() {
			t.Errorf("listens on %s by default, want loopback", addr)
		}
	}
	if o.MaxBytes != 64<<20 || o.MaxInFlight != 128<<20 {
		t.Errorf("defaults: %d bytes a request, %d in flight, want 64 and 128 MiB", o.MaxBytes, o.MaxInFlight)
	}
}

// TestCloseWithoutRun gives the ports back.
func TestCloseWithoutRun(t *testing.T) {
	s, err := New(Options{GRPCListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", Sink: (&tally{}).sink})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []net.Addr{s.GRPCAddr(), s.HTTPAddr()} {
		lis, err := net.Listen("tcp", addr.String())
		if err != nil {
			t.Errorf("after Close: %v", err)
			continue
		}
		lis.Close()
	}
}

func TestWarnsWhenOpen(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1:0": false, "[::1]:0": false, "0.0.0.0:0": true, ":0": true} {
		var log bytes.Buffer
		s, err := New(Options{GRPCListen: "127.0.0.1:0", HTTPListen: addr, Sink: (&tally{}).sink, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			if addr == "[::1]:0" {
				t.Logf("no IPv6 here: %v", err)
				continue
			}
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "level=WARN"); got != want {
			t.Errorf("listening on %s warns: %t, want %t; %s", addr, got, want, &log)
		}
	}
}

// TestPanicIsLogged wants the stack of a panic in the log and nowhere else.
func TestPanicIsLogged(t *testing.T) {
	var log bytes.Buffer
	s := start(t, Options{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Sink:   func([]byte) (Rejected, error) { panic("boom") },
	})
	resp := post(t, s, "POST", "/v1/traces", "application/json", nil, []byte(`{}`), false)
	if strings.Contains(string(resp.body), "boom") {
		t.Errorf("the sender hears %q", resp.body)
	}
	if got := log.String(); !strings.Contains(got, "boom") || !strings.Contains(got, "TestPanicIsLogged") {
		t.Errorf("log = %s, want the panic with its stack", got)
	}
}

// TestRead goes through the sizes at which buffers change.
func TestRead(t *testing.T) {
	for _, size := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 4<<20 - 1, 4 << 20, 4<<20 + 1, 9 << 20} {
		for _, first := range []int{0, size, 1 << 20} {
			for _, whole := range []int{0, size} {
				m := newMemory(64 << 20)
				want := bytes.Repeat([]byte("0123456"), size/7+1)[:size]
				buf, err := m.read(io.MultiReader(bytes.NewReader(want)), first, whole, size)
				if err != nil || !bytes.Equal(*buf, want) {
					t.Fatalf("read(%d bytes, first %d, whole %d): %v, want the same back", size, first, whole, err)
				}
				m.put(buf)
				if size > 0 {
					if _, err := m.read(bytes.NewReader(want), first, whole, size-1); !errors.Is(err, errLimit) {
						t.Errorf("read(%d bytes, first %d, whole %d, limit %d): %v, want errLimit", size, first, whole, size-1, err)
					}
				}
				if got := m.left.Load(); got != 64<<20 {
					t.Errorf("read(%d bytes, first %d, whole %d) leaves %d of the budget, want all %d", size, first, whole, got, 64<<20)
				}
			}
		}
	}
}
