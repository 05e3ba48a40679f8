package chart

import (
	"bytes"
	"flag"
	"image"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var began = time.Date(2026, 11, 20, 14, 2, 0, 0, time.UTC)

// series has a point a minute, of what f says.
func series(from, to time.Time, f func(t time.Time) float64) []Point {
	var out []Point
	for t := from; !t.After(to); t = t.Add(time.Minute) {
		out = append(out, Point{t, f(t)})
	}
	return out
}

// calmly is a share that wavers around 0.03 %.
func calmly(t time.Time) float64 {
	m := float64(t.Unix()/60%1440) / 7
	return 0.0003 + 0.00015*math.Sin(m) + 0.0001*math.Sin(3.1*m)
}

func outage() Data {
	from, to := began.Add(-5*time.Hour), began.Add(time.Hour)
	return Data{
		Title: "Checkout: requests that fail", From: from, To: to, Objective: 0.001, Began: began,
		Limits:  []Limit{{0.0144, "page"}, {0.006, "page"}},
		Deploys: []Deploy{{began.Add(-4 * time.Hour), "1.41.7"}, {began.Add(-4 * time.Minute), "1.42.0"}},
		Points: series(from, to, func(t time.Time) float64 {
			if t.Before(began) {
				return calmly(t)
			}
			return 0.031*min(1, t.Sub(began).Minutes()/12) + 3*calmly(t) - 0.0009
		}),
	}
}

var charts = map[string]func() Data{
	"page": outage,
	"resolved": func() Data {
		d := outage()
		d.Ended = began.Add(38 * time.Minute)
		d.Zone, _ = time.LoadLocation("Europe/Zurich")
		d.Deploys = append(d.Deploys, Deploy{began.Add(31 * time.Minute), "1.41.7"})
		for i, p := range d.Points {
			if p.At.After(began.Add(31 * time.Minute)) {
				d.Points[i].Share = max(calmly(p.At), 0.031*(1-p.At.Sub(began.Add(31*time.Minute)).Minutes()/6))
			}
		}
		return d
	},
	"total": func() Data {
		d := outage()
		d.Title = "Login: requests that fail"
		for i, p := range d.Points {
			if !p.At.Before(began) {
				d.Points[i].Share = 1
			}
		}
		return d
	},
	"slow-burn": func() Data {
		from := began.Add(-3 * 24 * time.Hour)
		d := Data{
			Title: "Search: requests over 300 ms", From: from, To: began, Objective: 0.05, Began: began.Add(-40 * time.Hour),
			Limits: []Limit{{0.15, "ticket"}},
		}
		for t := from; !t.After(began); t = t.Add(10 * time.Minute) {
			share := 0.02 + 15*calmly(t)
			if t.After(d.Began) {
				share = 0.17 + 40*calmly(t)
			}
			d.Points = append(d.Points, Point{t, share})
		}
		return d
	},
	"gap": func() Data {
		d := outage()
		for i, p := range d.Points {
			if p.At.After(began.Add(15*time.Minute)) && p.At.Before(began.Add(30*time.Minute)) {
				d.Points[i].Share = math.NaN()
			}
		}
		return d
	},
	"hostile": func() Data {
		d := outage()
		d.Title = strings.Repeat("<script>漢字\u202e ", 50)
		d.Deploys = []Deploy{
			{began, strings.Repeat("W", 10_000)},
			{began.Add(time.Second), "b"},
			{began.Add(55 * time.Minute), "at the very edge of it"},
			{began.Add(-time.Hour * 24), "long ago"},
		}
		d.Points[9].Share, d.Points[10].Share, d.Points[11].Share = math.Inf(1), -1, 7
		return d
	},
	"close": func() Data {
		d := outage()
		d.Objective = 0.01
		d.Limits = []Limit{{0.0144, "page"}, {0.0125, "page"}, {0.011, "ticket"}, {0.0105, "ticket"}}
		return d
	},
	"empty": func() Data {
		return Data{Title: "Refund: requests that fail", From: began.Add(-time.Hour), To: began, Objective: 0.001}
	},
}

// TestGolden compares each chart pixel by pixel. Look at a picture before you
// keep it.
func TestGolden(t *testing.T) {
	for name, data := range charts {
		t.Run(name, func(t *testing.T) {
			var got, again bytes.Buffer
			for _, b := range []*bytes.Buffer{&got, &again} {
				if err := Draw(b, data()); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got.Bytes(), again.Bytes()) {
				t.Error("drawing twice gives different bytes")
			}
			path := filepath.Join("testdata", name+".golden.png")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			// Pixels, not bytes: how PNG is packed is the Go version's.
			if n := differ(pixels(t, got.Bytes()), pixels(t, file)); n != 0 {
				t.Errorf("%d pixels differ from %s; go test -run '^%s$' -update rewrites it", n, path, t.Name())
			}
		})
	}
}

// TestWordsOverlapNothing lays out levels of all distances: no words lie on
// others, on a line, or outside of the plot.
func TestWordsOverlapNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	c, err := newCanvas(Width, Height)
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		d := outage()
		d.Objective = random.Float64() * 0.1
		d.Limits = nil
		for range random.IntN(5) {
			d.Limits = append(d.Limits, Limit{d.Objective * (1 + random.ExpFloat64()/3), []string{"page", "ticket"}[random.IntN(2)]})
		}
		p := plot{Data: d, canvas: c}
		_, marks, all := p.arrange()
		if len(all) != len(marks) || len(all) != 1+len(p.Limits) {
			t.Fatalf("%d words of %d levels, want those of the objective and %d limits", len(all), len(marks), len(p.Limits))
		}
		box := func(w words) image.Rectangle {
			return image.Rect(w.x, w.y-24, w.x+c.width(c.small, w.text), w.y+7)
		}
		for i, w := range all {
			if !box(w).In(image.Rect(p.left, plotTop, p.right, plotEnd)) {
				t.Errorf("objective %g, limits %v: %q at %v leaves the plot", d.Objective, d.Limits, w.text, box(w))
			}
			for _, other := range all[:i] {
				if box(w).Overlaps(box(other)) {
					t.Errorf("objective %g, limits %v: %q lies on %q", d.Objective, d.Limits, w.text, other.text)
				}
			}
			for _, m := range marks {
				if y := int(p.y(m.share)); box(w).Overlaps(image.Rect(p.left, y-2, p.right, y+2)) {
					t.Errorf("objective %g, limits %v: %q lies on the line of %q", d.Objective, d.Limits, w.text, m.text)
				}
			}
		}
	}
}

func pixels(t *testing.T, file []byte) image.Image {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if size := img.Bounds().Size(); size != image.Pt(Width, Height) {
		t.Fatalf("picture is %v, want %d × %d", size, Width, Height)
	}
	return img
}

func differ(a, b image.Image) (n int) {
	for y := range Height {
		for x := range Width {
			if a.At(x, y) != b.At(x, y) {
				n++
			}
		}
	}
	return n
}

func TestNoTime(t *testing.T) {
	d := outage()
	d.To = d.From
	if err := Draw(&bytes.Buffer{}, d); err == nil || !strings.Contains(err.Error(), "want it to end later") {
		t.Errorf("Draw of no time = %v, want an error that says so", err)
	}
}

func TestPercent(t *testing.T) {
	for share, want := range map[float64]string{
		0: "0 %", 0.001: "0.1 %", 0.0144: "1.4 %", 0.0005: "0.05 %", 0.00001: "0.001 %", 0.031: "3.1 %", 0.05: "5 %", 0.72: "72 %", 1: "100 %",
	} {
		if got := percent(share); got != want {
			t.Errorf("percent(%g) = %q, want %q", share, got, want)
		}
	}
}

func BenchmarkDraw(b *testing.B) {
	d := outage()
	b.ReportAllocs()
	for b.Loop() {
		var w bytes.Buffer
		if err := Draw(&w, d); err != nil {
			b.Fatal(err)
		}
	}
}
