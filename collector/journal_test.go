package collector

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo/ledger"
)

const checkout = "shop-checkout-availability"

var testDefs = []ledger.Def{{ID: checkout, Windows: []time.Duration{5 * time.Minute, 30 * 24 * time.Hour}}}

func openTest(t *testing.T, dir string) (*journal, *ledger.Ledger) {
	t.Helper()
	j, l, err := openJournal(dir, time.UnixMilli(1_760_000_000_000), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.Define(testDefs)
	return j, l
}

// write records and adds n flushes of 10 good and 1 bad event.
func write(t *testing.T, j *journal, l *ledger.Ledger, n int) {
	t.Helper()
	for range n {
		at := l.Now().Add(2 * time.Second)
		e := []ledger.Entry{{ID: checkout, Good: 10, Bad: 1}}
		if err := j.record(at, e); err != nil {
			t.Fatal(err)
		}
		l.Add(at, e)
	}
}

func account(t *testing.T, l *ledger.Ledger) string {
	t.Helper()
	s, ok := l.State(checkout)
	if !ok {
		t.Fatal("the ledger does not know the SLO")
	}
	return fmt.Sprint(s.Errors, s.Events, s.Windows, l.Now().UnixMilli())
}

// crash leaves the files as a killed process does.
func crash(t *testing.T, j *journal) {
	t.Helper()
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
}

func TestJournalRestoresAfterACrash(t *testing.T) {
	dir := t.TempDir()
	j, l := openTest(t, dir)
	write(t, j, l, 5)
	if err := j.snapshot(l); err != nil {
		t.Fatal(err)
	}
	write(t, j, l, 7)
	want := account(t, l)
	crash(t, j)

	j, l = openTest(t, dir)
	if got := account(t, l); got != want {
		t.Errorf("after a crash: %s, want %s", got, want)
	}
	write(t, j, l, 1)
	want = account(t, l)
	crash(t, j)
	_, l = openTest(t, dir)
	if got := account(t, l); got != want {
		t.Errorf("after a second crash: %s, want %s", got, want)
	}
}

// TestJournalTornAnywhere cuts the journal at every byte: each whole record
// before the cut counts, none is counted twice, and more can be written.
func TestJournalTornAnywhere(t *testing.T) {
	dir := t.TempDir()
	j, l := openTest(t, dir)
	if err := j.snapshot(l); err != nil {
		t.Fatal(err)
	}
	write(t, j, l, 4)
	size, path := int(j.size), j.path()
	crash(t, j)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range size {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		j, l := openTest(t, dir)
		s, _ := l.State(checkout)
		if want := uint64(cut / (size / 4) * 11); s.Events != want {
			t.Fatalf("cut at %d of %d bytes: %d events, want %d", cut, size, s.Events, want)
		}
		write(t, j, l, 1)
		want := account(t, l)
		crash(t, j)
		j, l = openTest(t, dir)
		if got := account(t, l); got != want {
			t.Fatalf("cut at %d, written on and opened again: %s, want %s", cut, got, want)
		}
		crash(t, j)
	}
}

// TestSnapshotInterrupted: a crash between the new snapshot and the removal of
// the old journal must not count the old journal again.
func TestSnapshotInterrupted(t *testing.T) {
	dir := t.TempDir()
	j, l := openTest(t, dir)
	write(t, j, l, 3)
	old := j.path()
	saved, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.snapshot(l); err != nil {
		t.Fatal(err)
	}
	want := account(t, l)
	crash(t, j)
	if err := os.WriteFile(old, saved, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(j.path()); err != nil {
		t.Fatal(err)
	}
	_, l = openTest(t, dir)
	if got := account(t, l); got != want {
		t.Errorf("old journal beside the new snapshot: %s, want %s", got, want)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the old journal is still there (%v); want it removed", err)
	}
}

func TestDamageGoesToQuarantine(t *testing.T) {
	dir := t.TempDir()
	j, l := openTest(t, dir)
	write(t, j, l, 3)
	if err := j.snapshot(l); err != nil {
		t.Fatal(err)
	}
	crash(t, j)
	path := filepath.Join(dir, "snapshot")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, l = openTest(t, dir)
	if s, _ := l.State(checkout); s.Events != 0 {
		t.Errorf("events after a damaged snapshot = %d, want an empty account", s.Events)
	}
	kept, err := filepath.Glob(filepath.Join(dir, "quarantine", "snapshot-*"))
	if err != nil || len(kept) != 1 {
		t.Errorf("quarantine holds %v (%v); want the damaged snapshot", kept, err)
	}
}

// FuzzJournal: whatever the files hold, opening neither panics nor loses what
// is written afterwards.
func FuzzJournal(f *testing.F) {
	rec := ledger.AppendRecord(nil, time.UnixMilli(1_760_000_000_000), []ledger.Entry{{ID: checkout, Good: 1}})
	framed := append(binary.LittleEndian.AppendUint32(nil, uint32(len(rec))), 0, 0, 0, 0)
	f.Add(append(framed, rec...), encodeSnapshot(0, ledger.New(time.UnixMilli(1_760_000_000_000))))
	f.Add([]byte{1, 0, 0, 0}, []byte{})
	f.Fuzz(func(t *testing.T, records, snapshot []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{"journal-0": records, "snapshot": snapshot} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		j, l := openTest(t, dir)
		write(t, j, l, 2)
		want := account(t, l)
		crash(t, j)
		j, l = openTest(t, dir)
		if got := account(t, l); got != want {
			t.Errorf("opened again: %s, want %s", got, want)
		}
		crash(t, j)
	})
}
