// Slothgen writes Sloth's rules for a Sloth specification, by Sloth's own
// library:
//
//	go run . ../rules/testdata/sloth.yaml > ../rules/testdata/sloth.rules.yaml
package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"testing/fstest"

	"github.com/slok/sloth/pkg/lib"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "slothgen:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("%d arguments; want a Sloth specification", len(os.Args)-1)
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	gen, err := lib.NewPrometheusSLOGenerator(lib.PrometheusSLOGeneratorConfig{PluginsFS: []fs.FS{fstest.MapFS{}}})
	if err != nil {
		return err
	}
	ctx := context.Background()
	result, err := gen.GenerateFromRaw(ctx, text)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := gen.WriteResultAsPrometheusStd(ctx, *result, &out); err != nil {
		return err
	}
	_, err = os.Stdout.Write(out.Bytes())
	return err
}
