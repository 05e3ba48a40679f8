package chart

import (
	"image"
	"image/color"
	"image/draw"
	"math"
	"strings"
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// fonts are parsed once; the fonts themselves may be used by several
// goroutines, their faces may not.
var fonts = sync.OnceValues(func() (f [2]*sfnt.Font, err error) {
	for i, data := range [][]byte{goregular.TTF, gobold.TTF} {
		if f[i], err = opentype.Parse(data); err != nil {
			return f, err
		}
	}
	return f, nil
})

// canvas is a picture and what draws on it.
type canvas struct {
	img          *image.RGBA
	small, large font.Face
	regular      *sfnt.Font
}

func newCanvas(width, height int) (*canvas, error) {
	f, err := fonts()
	if err != nil {
		return nil, err
	}
	c := &canvas{img: image.NewRGBA(image.Rect(0, 0, width, height)), regular: f[0]}
	// At 72 dots an inch a point is a pixel.
	if c.small, err = opentype.NewFace(f[0], &opentype.FaceOptions{Size: 30, DPI: 72}); err != nil {
		return nil, err
	}
	if c.large, err = opentype.NewFace(f[1], &opentype.FaceOptions{Size: 38, DPI: 72}); err != nil {
		return nil, err
	}
	return c, nil
}

// known returns the text with a sign for what the font lacks.
func (c *canvas) known(text string) string {
	var b sfnt.Buffer
	return strings.Map(func(r rune) rune {
		if i, err := c.regular.GlyphIndex(&b, r); err != nil || i == 0 {
			return '·'
		}
		return r
	}, text)
}

func (c *canvas) fill(r image.Rectangle, hue color.RGBA) {
	draw.Draw(c.img, r, image.NewUniform(hue), image.Point{}, draw.Src)
}

func (c *canvas) border(hue color.RGBA) {
	b := c.img.Bounds()
	for _, side := range []image.Rectangle{
		{b.Min, image.Pt(b.Max.X, 2)}, {image.Pt(0, b.Max.Y-2), b.Max}, {b.Min, image.Pt(2, b.Max.Y)}, {image.Pt(b.Max.X-2, 0), b.Max},
	} {
		c.fill(side, hue)
	}
}

type align int

const (
	alignLeft align = iota
	alignCenter
	alignRight
)

func (c *canvas) width(face font.Face, text string) int {
	return font.MeasureString(face, text).Ceil()
}

// text writes on the baseline y.
func (c *canvas) text(face font.Face, text string, x, y int, hue color.RGBA, a align) {
	switch a {
	case alignCenter:
		x -= c.width(face, text) / 2
	case alignRight:
		x -= c.width(face, text)
	}
	d := font.Drawer{Dst: c.img, Src: image.NewUniform(hue), Face: face, Dot: fixed.P(x, y)}
	d.DrawString(text)
}

// halo writes on what may be drawn there, with a rim of paper.
func (c *canvas) halo(face font.Face, text string, x, y int, hue color.RGBA) {
	for _, by := range []image.Point{{-3, 0}, {3, 0}, {0, -3}, {0, 3}, {-2, -2}, {2, -2}, {-2, 2}, {2, 2}} {
		c.text(face, text, x+by.X, y+by.Y, paper, alignLeft)
	}
	c.text(face, text, x, y, hue, alignLeft)
}

// point is a place on the picture.
type point struct{ x, y float64 }

// stroke draws a line through the points.
func (c *canvas) stroke(points []point, width float64, hue color.RGBA) {
	r := width / 2
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		dx, dy := b.x-a.x, b.y-a.y
		length := math.Hypot(dx, dy)
		if length == 0 {
			continue
		}
		nx, ny := -dy/length*r, dx/length*r
		c.polygon([]point{{a.x + nx, a.y + ny}, {b.x + nx, b.y + ny}, {b.x - nx, b.y - ny}, {a.x - nx, a.y - ny}}, hue)
	}
	for _, p := range points { // joints and ends
		disc := make([]point, 12)
		for i := range disc {
			sin, cos := math.Sincos(float64(i) * math.Pi / 6)
			disc[i] = point{p.x + r*cos, p.y + r*sin}
		}
		c.polygon(disc, hue)
	}
}

// area fills what is between the points and the height y.
func (c *canvas) area(points []point, y float64, hue color.RGBA) {
	c.polygon(append(append([]point{{points[0].x, y}}, points...), point{points[len(points)-1].x, y}), hue)
}

func (c *canvas) polygon(points []point, hue color.RGBA) {
	lo, hi := points[0], points[0]
	for _, p := range points {
		lo = point{min(lo.x, p.x), min(lo.y, p.y)}
		hi = point{max(hi.x, p.x), max(hi.y, p.y)}
	}
	box := image.Rect(int(math.Floor(lo.x)), int(math.Floor(lo.y)), int(math.Ceil(hi.x))+1, int(math.Ceil(hi.y))+1)
	z := vector.NewRasterizer(box.Dx(), box.Dy())
	at := func(p point) (float32, float32) {
		return float32(p.x - float64(box.Min.X)), float32(p.y - float64(box.Min.Y))
	}
	z.MoveTo(at(points[0]))
	for _, p := range points[1:] {
		z.LineTo(at(p))
	}
	z.ClosePath()
	z.Draw(c.img, box, image.NewUniform(hue), image.Point{})
}
