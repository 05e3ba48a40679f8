package spantest

import "testing"

func TestCorpus(t *testing.T) {
	sums := map[uint64]bool{}
	for _, o := range []Order{Ascending, Descending, Permuted} {
		t.Run(o.String(), func(t *testing.T) {
			const spans = 5_000
			requests, err := Corpus(Options{Spans: spans, Order: o, Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			size, sum := 0, uint64(0)
			for _, r := range requests {
				size += len(r)
				n, err := Walk(r)
				if err != nil {
					t.Fatal(err)
				}
				sum += n
			}
			t.Logf("%d requests, %d bytes a span", len(requests), size/spans)
			if got := size / spans; got < 361 || got > 401 {
				t.Errorf("a span takes %d bytes, want about 381", got)
			}
			sums[sum] = true
		})
	}
	if len(sums) != 1 {
		t.Errorf("walks over the orders of one corpus give %d different sums, want the same", len(sums))
	}
}
