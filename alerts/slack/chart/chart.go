// Package chart draws the picture of an incident: the share of bad events over
// time, with what was promised and what alerts.
//
// The picture stands in a message, mostly on a phone: type is large, there are
// few lines, and each of them says what it is. It is opaque and light, so that
// it reads the same wherever Slack is dark. The same data give the same pixels.
package chart

import (
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Data is what a chart shows. Shares are in [0, 1].
type Data struct {
	Title    string // what the line is, such as: Checkout: requests that fail
	From, To time.Time

	// Points are the share of bad events, ascending in time. A NaN is a gap.
	Points []Point

	// Objective is the share that may be bad.
	Objective float64

	// Limits are the shares above which somebody is told, each with the word
	// for that: page, ticket. Those far above everything else are left out.
	Limits []Limit

	// Began and Ended are the incident's; without Ended it goes on until To,
	// and without Began there is none.
	Began, Ended time.Time

	// Deploys are versions that went live.
	Deploys []Deploy

	// Zone is that of the clock; nil is UTC.
	Zone *time.Location
}

// Point is a share at a time.
type Point struct {
	At    time.Time
	Share float64
}

// Limit is a share that alerts.
type Limit struct {
	Share float64
	Word  string
}

// Deploy is a version that went live.
type Deploy struct {
	At   time.Time
	Name string
}

// Width and Height of a chart in pixels: at the 360 points that a phone gives a
// picture, type is 10 points high.
const (
	Width  = 1080
	Height = 540
)

const (
	marginX = 36
	plotTop = 132
	plotEnd = Height - 64

	flagHeight = 40
	maxName    = 16 // characters of a deploy's name
	maxTitle   = 60
	maxDeploys = 4
	timeLabels = 6

	// far is how many times all else a limit may be to be shown: more would
	// press the line flat.
	far = 3
)

var (
	paper   = color.RGBA{0xff, 0xff, 0xff, 0xff}
	ink     = color.RGBA{0x1d, 0x1c, 0x1d, 0xff}
	muted   = color.RGBA{0x5c, 0x5f, 0x66, 0xff}
	hairs   = color.RGBA{0xe4, 0xe5, 0xe8, 0xff}
	frame   = color.RGBA{0xc9, 0xcc, 0xd1, 0xff}
	calm    = color.RGBA{0x47, 0x54, 0x67, 0xff}
	promise = color.RGBA{0x06, 0x76, 0x47, 0xff}
	warn    = color.RGBA{0xb5, 0x47, 0x08, 0xff}
	bad     = color.RGBA{0xd9, 0x2d, 0x20, 0xff}
	badArea = color.RGBA{0x2b, 0x09, 0x06, 0x33} // premultiplied: bad at a fifth
	band    = color.RGBA{0xfe, 0xf3, 0xf2, 0xff}
	deploy  = color.RGBA{0x35, 0x38, 0xcd, 0xff}
)

// Draw writes the chart as PNG. It takes some 30 ms. The error is the
// writer's, or that the data make no chart.
func Draw(w io.Writer, d Data) error {
	img, err := Image(d)
	if err != nil {
		return err
	}
	return (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(w, img)
}

// Image draws the chart.
func Image(d Data) (*image.RGBA, error) {
	if !d.To.After(d.From) {
		return nil, fmt.Errorf("chart: it ends at %s and begins at %s; want it to end later", d.To, d.From)
	}
	if d.Zone == nil {
		d.Zone = time.UTC
	}
	over := !d.Ended.IsZero()
	if !over || d.Ended.After(d.To) {
		d.Ended = d.To
	}
	c, err := newCanvas(Width, Height)
	if err != nil {
		return nil, err
	}
	p := plot{Data: d, canvas: c, over: over}
	p.draw()
	return c.img, nil
}

// plot is a chart that is being drawn.
type plot struct {
	Data
	*canvas
	over        bool    // the incident
	left, right int     // of the plot
	top, step   float64 // shares: at the plot's upper end, and between ticks
}

func (p *plot) draw() {
	p.fill(p.img.Bounds(), paper)
	p.border(frame)
	label, marks, words := p.arrange()
	if !p.Began.IsZero() {
		p.fill(image.Rect(p.x(p.Began), plotTop, max(p.x(p.Ended), p.x(p.Began)+3), plotEnd), band)
	}
	for n := 0; ; n++ {
		share := float64(n) * p.step
		if share > min(p.top, 1)*(1+1e-9) {
			break
		}
		y := int(p.y(share))
		p.fill(image.Rect(p.left, y, p.right, y+2), hairs)
		p.text(p.small, label(share), p.left-16, y+10, muted, alignRight)
	}
	p.times()
	for _, d := range p.Deploys[max(0, len(p.Deploys)-maxDeploys):] {
		if x := p.x(d.At); !d.At.Before(p.From) && !d.At.After(p.To) {
			p.fill(image.Rect(x-1, plotTop-flagHeight, x+2, plotEnd), deploy)
		}
	}
	p.line()
	p.limits(marks, words)
	p.flags()
	p.heading()
}

// arrange finds the scale, and what is written where: the labels of its ticks,
// the levels, and their words.
func (p *plot) arrange() (label func(share float64) string, marks []mark, words []words) {
	p.scale()
	decimals := 0
	for s := p.step * 100; decimals < 4 && math.Abs(s-math.Round(s)) > 1e-9; s *= 10 {
		decimals++
	}
	label = func(share float64) string { return strconv.FormatFloat(share*100, 'f', decimals, 64) + " %" }
	marks = p.marks()
	p.right = Width - marginX
	for fits := false; !fits; {
		p.left = marginX + p.width(p.small, label(p.top)) + 16
		if words, fits = p.lay(marks); !fits {
			p.top += p.step // more room above the highest line
		}
	}
	return label, marks, words
}

// x returns where a moment is.
func (p *plot) x(t time.Time) int { return int(math.Round(p.at(t))) }

func (p *plot) at(t time.Time) float64 {
	share := float64(t.Sub(p.From)) / float64(p.To.Sub(p.From))
	return float64(p.left) + min(max(share, 0), 1)*float64(p.right-p.left)
}

// y returns where a share is.
func (p *plot) y(share float64) float64 {
	return plotEnd - min(max(share/p.top, 0), 1)*(plotEnd-plotTop)
}

// scale finds the axis: three to five ticks at round shares.
func (p *plot) scale() {
	most := p.Objective
	for _, pt := range p.Points {
		if pt.Share > most {
			most = min(pt.Share, 1)
		}
	}
	var shown []Limit
	reach := far * most
	for _, l := range p.Limits {
		if l.Share > 0 && l.Share <= reach {
			shown = append(shown, l)
			most = max(most, l.Share)
		}
	}
	slices.SortFunc(shown, func(a, b Limit) int { return cmp.Compare(a.Share, b.Share) })
	p.Limits = shown
	if most <= 0 {
		most = 0.01
	}
	most = min(most*1.08, 1)
	for power := math.Pow(10, math.Floor(math.Log10(most))-1); ; power *= 10 {
		for _, m := range []float64{1, 2, 2.5, 5} {
			if p.step = m * power; math.Ceil(most/p.step-1e-9) <= 4 {
				p.top = math.Ceil(most/p.step-1e-9) * p.step
				return
			}
		}
	}
}

var timeSteps = []time.Duration{
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour,
	2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 96 * time.Hour, 192 * time.Hour,
}

// times writes the axis of time.
func (p *plot) times() {
	step := timeSteps[len(timeSteps)-1]
	for _, s := range timeSteps {
		if p.To.Sub(p.From) <= timeLabels*s {
			step = s
			break
		}
	}
	layout := "15:04"
	if step >= 24*time.Hour {
		layout = "2 Jan"
	}
	name, _ := p.To.In(p.Zone).Zone()
	p.text(p.small, name, marginX, plotEnd+42, muted, alignLeft)
	free := marginX + p.width(p.small, name) + 20

	from := p.From.In(p.Zone)
	t := time.Date(from.Year(), from.Month(), from.Day(), 0, 0, 0, 0, p.Zone)
	for ; !t.After(p.To); t = t.Add(step) {
		if t.Before(p.From) {
			continue
		}
		x := p.x(t)
		p.fill(image.Rect(x-1, plotEnd, x+1, plotEnd+9), muted)
		text := t.Format(layout)
		half := p.width(p.small, text) / 2
		if x = min(x, p.right-half); x-half >= free {
			p.text(p.small, text, x, plotEnd+42, muted, alignCenter)
			free = x + half + 20
		}
	}
}

// line draws the share of bad events, red while the incident lasts.
func (p *plot) line() {
	var run []point
	burning := false
	flush := func() {
		if len(run) > 1 {
			hue := calm
			if burning {
				hue = bad
				p.area(run, plotEnd, badArea)
			}
			p.stroke(run, 5, hue)
		}
		run = nil
	}
	for _, pt := range p.Points {
		if pt.At.Before(p.From) || pt.At.After(p.To) {
			continue
		}
		if math.IsNaN(pt.Share) {
			flush()
			continue
		}
		here := point{p.at(pt.At), p.y(pt.Share)}
		now := !p.Began.IsZero() && !pt.At.Before(p.Began) && !pt.At.After(p.Ended)
		if now != burning { // the way up and the way down are the incident's
			var first []point
			if now && len(run) > 0 {
				first = run[len(run)-1:]
			} else if !now {
				run = append(run, here)
			}
			flush()
			run, burning = first, now
		}
		run = append(run, here)
	}
	flush()
}

// mark is a level with what it means.
type mark struct {
	share float64
	hue   color.RGBA
	text  string
}

// marks are what was promised and what alerts, the lowest first.
func (p *plot) marks() []mark {
	out := []mark{{p.Objective, promise, "objective: at most " + percent(p.Objective)}}
	for _, l := range p.Limits {
		out = append(out, mark{l.Share, warn, l.Word + " at " + percent(l.Share)})
	}
	slices.SortStableFunc(out, func(a, b mark) int { return cmp.Compare(a.share, b.share) })
	return out
}

// words are a mark's text where it is written: x is its left end, y its
// baseline.
type words struct {
	mark
	x, y int
}

const (
	wordsHeight = 36 // of a row of words
	wordsAbove  = 10 // their baseline above the line
	wordsApart  = 24
)

// lay places the words of marks above their lines. Where lines are too close
// for words between them, the words of all stand side by side above the highest
// of them, in as many rows as they take. fits tells whether all are on the plot.
func (p *plot) lay(marks []mark) (out []words, fits bool) {
	fits = true
	for len(marks) > 0 {
		n, rows := 0, 0
		var group []words // with y as the row, counted from below
		for n < len(marks) && (n == 0 || p.y(marks[n-1].share)-p.y(marks[n].share) < float64(rows*wordsHeight+wordsAbove)) {
			n++
			group, rows = p.rows(marks[:n])
		}
		top := int(p.y(marks[n-1].share))
		for _, w := range group {
			w.y = top - wordsAbove - w.y*wordsHeight
			out = append(out, w)
		}
		fits = fits && top-rows*wordsHeight-2 >= plotTop
		marks = marks[n:]
	}
	return out, fits
}

// rows puts the words of marks side by side, and in a further row those that do
// not fit.
func (p *plot) rows(marks []mark) (out []words, rows int) {
	x, rows := p.left+12, 1
	for _, m := range marks {
		wide := p.width(p.small, m.text)
		if x > p.left+12 && x+wide > p.right {
			x = p.left + 12
			rows++
		}
		out = append(out, words{m, x, rows - 1})
		x += wide + wordsApart
	}
	return out, rows
}

// limits draws what was promised and what alerts, and says so.
func (p *plot) limits(marks []mark, words []words) {
	for _, m := range marks {
		y := int(p.y(m.share))
		if m.hue == promise {
			p.fill(image.Rect(p.left, y-2, p.right, y+2), promise)
			continue
		}
		for x := p.left; x < p.right; x += 22 {
			p.fill(image.Rect(x, y-1, min(x+13, p.right), y+2), m.hue)
		}
	}
	for _, w := range words {
		p.halo(p.small, w.text, w.x, w.y, w.hue)
	}
}

// flags draws the names of deploys, each where the one before leaves room.
func (p *plot) flags() {
	free := p.left
	for _, d := range p.Deploys[max(0, len(p.Deploys)-maxDeploys):] {
		if d.At.Before(p.From) || d.At.After(p.To) {
			continue
		}
		name := p.known(cut(d.Name, maxName))
		x, wide := p.x(d.At)-1, p.width(p.small, name)+28
		if x+wide > p.right { // to the left of its pole
			x -= wide - 3
		}
		if x < free {
			continue
		}
		free = x + wide + 8
		p.fill(image.Rect(x, plotTop-flagHeight, x+wide, plotTop), deploy)
		p.text(p.small, name, x+14, plotTop-11, paper, alignLeft)
	}
}

// heading writes what the line is, and how it stands.
func (p *plot) heading() {
	word, share := "now", math.NaN()
	for _, pt := range p.Points {
		if !math.IsNaN(pt.Share) && !pt.At.After(p.To) {
			share = pt.Share
		}
	}
	hue := ink
	switch {
	case p.Began.IsZero():
	case p.over:
		word, share = "at worst", 0
		for _, pt := range p.Points {
			if !pt.At.Before(p.Began) && !pt.At.After(p.Ended) && pt.Share > share {
				share = pt.Share
			}
		}
	default:
		hue = bad
	}
	room := p.right - marginX
	if !math.IsNaN(share) {
		text := percent(share) + " " + word
		p.text(p.large, text, p.right, 62, hue, alignRight)
		room -= p.width(p.large, text) + 32
	}
	title := p.known(cut(p.Title, maxTitle))
	for p.width(p.large, title) > room && len([]rune(title)) > 2 {
		title = cut(title, len([]rune(title))-1)
	}
	p.text(p.large, title, marginX, 62, ink, alignLeft)
}

func cut(text string, n int) string {
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}

// percent writes a share with two figures, and without digits that say nothing.
func percent(share float64) string {
	p := share * 100
	if p == 0 || p >= 10 {
		return strconv.FormatFloat(math.Round(p), 'f', 0, 64) + " %"
	}
	digits := min(max(1-int(math.Floor(math.Log10(p))), 0), 6)
	scale := math.Pow(10, float64(digits))
	return strconv.FormatFloat(math.Round(p*scale)/scale, 'f', -1, 64) + " %"
}
