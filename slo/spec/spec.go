// Package spec reads the YAML in which people write their flows and what they
// promise for them.
//
//	service: shop
//	slack: "#shop"
//	flows:
//	  checkout:
//	    match: POST /api/checkout
//	    slos:
//	      - 99.9% succeed
//	      - 95% under 300ms
//
// Package source turns bytes into values with places, within bounds of size and
// depth. The language is here, a file for each part of it: flow.go, match.go,
// objective.go with promql.go, alerts.go and exclude.go. Neither stops at the
// first fault.
package spec

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// maxFlows is how many flows a configuration may hold. The matcher and the
// ledger are measured up to it.
const maxFlows = 10_000

// Config is a configuration without faults.
type Config struct {
	Flows []slo.Flow

	// Warnings are what is legal but wrong, and what could not be carried
	// over from another format, sorted by place.
	Warnings source.Faults
}

// Load reads a configuration: files, and directories with all their *.yaml and
// *.yml files, those of subdirectories included, as one. Names that begin with
// a dot are left out. `service`, `slack`, `defaults` and `exclude` hold for the
// file they stand in.
//
// The flows come in the order of paths, the files' names and the files. An
// error is of type source.Faults and holds everything that is wrong in all
// files; there are no flows then. Places are named as fsys names the files.
//
// Load reads files only and may be called from several goroutines.
func Load(fsys fs.FS, paths ...string) (Config, error) {
	var faults source.Collector
	var names []string
	seen := map[string]bool{}
	for _, path := range paths {
		for _, name := range files(fsys, path, &faults) {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	var flows []slo.Flow
	var others formats
	zones := zones{}
	for _, name := range names {
		data, err := read(fsys, name)
		if err != nil {
			faults.Add(unreadable(name, err))
			continue
		}
		flows = append(flows, readFile(name, data, &others, zones, &faults)...)
	}
	return finish(flows, &others, &faults)
}

// Parse reads a configuration of one file from memory; name is what places in
// it are called by. It returns what Load would.
func Parse(name string, data []byte) (Config, error) {
	var others formats
	var faults source.Collector
	flows := readFile(name, data, &others, zones{}, &faults)
	return finish(flows, &others, &faults)
}

// files returns the names of the files that form a configuration, sorted.
func files(fsys fs.FS, root string, faults *source.Collector) []string {
	var names []string
	// The walk goes on after an error, so it returns none.
	_ = fs.WalkDir(fsys, root, func(name string, d fs.DirEntry, err error) error {
		hidden := name != root && strings.HasPrefix(path.Base(name), ".")
		switch ext := path.Ext(name); {
		case err != nil:
			faults.Add(unreadable(name, err))
		case d.IsDir():
			if hidden {
				return fs.SkipDir
			}
		case name == root, !hidden && (ext == ".yaml" || ext == ".yml"):
			names = append(names, name)
		}
		return nil
	})
	if len(names) == 0 && faults.Len() == 0 {
		faults.Add(source.Fault{
			Pos: slo.Pos{File: root}, Fact: "holds no .yaml or .yml file", Want: "want at least one",
		})
	}
	return names
}

// read returns a file, or of one that is too large as much as shows that.
func read(fsys fs.FS, name string) ([]byte, error) {
	// Opening a pipe would wait for a writer.
	if info, err := fs.Stat(fsys, name); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // read only: nothing is lost
	return io.ReadAll(io.LimitReader(f, source.MaxBytes+1))
}

func unreadable(name string, err error) source.Fault {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err // without the path, which the place names already
	}
	return source.Fault{
		Pos: slo.Pos{File: name}, Fact: err.Error(), Want: "want a YAML file or a directory of them",
	}
}

// finish checks what concerns the flows of all files together.
func finish(flows []slo.Flow, others *formats, faults *source.Collector) (Config, error) {
	others.settle(flows, faults)
	type identity struct{ service, flow string }
	known := make(map[identity]slo.Pos, len(flows))
	for i := range flows {
		f := &flows[i]
		if i == maxFlows {
			faults.Add(source.Fault{
				Pos: f.Pos, Path: source.Join("flows", f.Name),
				Fact: fmt.Sprintf("is one more than the %d flows a configuration may hold", maxFlows),
				Want: "want fewer flows, split by an attribute with by:",
			})
			break
		}
		id := identity{f.Service, f.Name}
		if first, twice := known[id]; twice && f.Service != "" {
			faults.Add(source.Fault{
				Pos: f.Pos, Path: source.Join("flows", f.Name),
				Fact: fmt.Sprintf("service %s has this flow at %s already", source.Quote(f.Service), first),
				Want: "want another name, or one flow with the objectives of both",
			})
		}
		known[id] = f.Pos
	}
	if faults.Len() == 0 {
		checkIDs(flows, faults)
	}
	if faults.Len() == 0 {
		warn(flows, faults)
	}
	if err := faults.Err(); err != nil {
		return Config{Warnings: faults.Warnings()}, err
	}
	return Config{Flows: flows, Warnings: faults.Warnings()}, nil
}

// checkIDs reports SLOs that share an identity, under which history is kept:
// flow a-b with objective c and flow a with objective b-c are both a-b-c.
func checkIDs(flows []slo.Flow, faults *source.Collector) {
	known := make(map[string]slo.Pos, 2*len(flows))
	for i := range flows {
		for j, s := range flows[i].SLOs() {
			if first, twice := known[s.ID()]; twice {
				faults.Add(source.Fault{
					Pos: s.Objective.Pos, Path: fmt.Sprintf("%s.slos[%d]", source.Join("flows", s.Flow.Name), j),
					Fact: fmt.Sprintf("has the id %s, as has the objective at %s", source.Quote(s.ID()), first),
					Want: "want name: or id: on one of them",
				})
			}
			known[s.ID()] = s.Objective.Pos
		}
	}
}
