package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

func newValidate() *cobra.Command {
	var format string
	var strict bool
	cmd := &cobra.Command{
		Use:   "validate PATH…",
		Short: "Check SLO files: every fault and warning, with its place",
		Long: `Check SLO files of slowburn, Sloth, OpenSLO and Pyrra. PATHs are files and
directories, which together form one configuration; - is standard input.

Every fault and every warning is one line on standard output,

  file:line:column: what it concerns: what is there; what is wanted

and the last line, on standard error, counts them. A fault is what serve would
refuse; a warning is legal, but can hardly have been meant.

  --format text     for people and editors
  --format json     one object with all findings, for programs
  --format github   annotations in the pull request, in GitHub Actions

The exit code is 0, or 1 if there are faults, or warnings with --strict.`,
		Example: `  slowburn validate slos.yaml
  slowburn validate slos/ sloth/ --strict --format github`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			write, ok := reports[format]
			if !ok {
				return fmt.Errorf("--format: %q is not a format; want text, json or github", format)
			}
			r, err := validate(paths, cmd.InOrStdin())
			if err != nil {
				return err
			}
			if err := write(cmd.OutOrStdout(), r); err != nil {
				return err
			}
			if r.Faults > 0 || strict && r.Warnings > 0 {
				return errors.New(r.summary())
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "slowburn:", r.summary())
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text, json or github")
	cmd.Flags().BoolVar(&strict, "strict", false, "fail on warnings too")
	return cmd
}

// report is what validate found.
type report struct {
	Findings []finding `json:"findings"` // sorted by place
	Faults   int       `json:"faults"`
	Warnings int       `json:"warnings"`
	Files    int       `json:"files"`
	Flows    int       `json:"flows"` // 0 when there are faults
	SLOs     int       `json:"slos"`
}

// finding is a fault or a warning.
type finding struct {
	Severity string `json:"severity"` // error or warning
	File     string `json:"file"`
	Line     int    `json:"line,omitempty"`   // from 1
	Column   int    `json:"column,omitempty"` // from 1
	Path     string `json:"path,omitempty"`
	Fact     string `json:"fact"`
	Want     string `json:"want"`
}

// validate loads the files below paths, in which - is stdin.
func validate(paths []string, stdin io.Reader) (report, error) {
	in := &input{opened: map[string]bool{}}
	if err := in.resolve(paths, stdin); err != nil {
		return report{}, err
	}
	config, err := spec.Load(in, paths...)
	var faults source.Faults
	if err != nil && !errors.As(err, &faults) {
		return report{}, err
	}
	return newReport(config, faults, len(in.opened)), nil
}

func newReport(config spec.Config, faults source.Faults, files int) report {
	r := report{
		Findings: []finding{}, // [] in JSON, not null
		Faults:   len(faults), Warnings: len(config.Warnings),
		Files: files, Flows: len(config.Flows), SLOs: len(slo.All(config.Flows)),
	}
	add := func(severity string, list source.Faults) {
		for _, f := range list {
			r.Findings = append(r.Findings, finding{severity, f.Pos.File, f.Pos.Line, f.Pos.Column, f.Path, f.Fact, f.Want})
		}
	}
	add("error", faults)
	add("warning", config.Warnings)
	slices.SortStableFunc(r.Findings, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r
}

// summary counts what was found: "12 SLOs in 5 flows, 3 files; 2 warnings".
func (r report) summary() string {
	found := "no warnings"
	if r.Warnings > 0 {
		found = count(r.Warnings, "warning")
	}
	if r.Faults > 0 {
		found = count(r.Faults, "fault")
		if r.Warnings > 0 {
			found += " and " + count(r.Warnings, "warning")
		}
		return found + " in " + count(r.Files, "file")
	}
	return fmt.Sprintf("%s in %s, %s; %s", count(r.SLOs, "SLO"), count(r.Flows, "flow"), count(r.Files, "file"), found)
}

// reports write findings by --format.
var reports = map[string]func(io.Writer, report) error{
	"text":   writeText,
	"json":   writeJSON,
	"github": writeGitHub,
}

func writeText(w io.Writer, r report) error {
	var b bytes.Buffer
	for _, f := range r.Findings {
		b.WriteString(slo.Pos{File: f.File, Line: f.Line, Column: f.Column}.String() + ": ")
		if f.Severity == "warning" {
			b.WriteString("warning: ")
		}
		b.WriteString(f.message() + "\n")
	}
	_, err := w.Write(b.Bytes())
	return err
}

// message returns the finding without its place.
func (f finding) message() string {
	text := f.Fact + "; " + f.Want
	if f.Path != "" {
		text = f.Path + ": " + text
	}
	return text
}

func writeJSON(w io.Writer, r report) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// What GitHub's workflow commands give a meaning is escaped as its own toolkit
// does.
var (
	commandData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	commandProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func writeGitHub(w io.Writer, r report) error {
	var b bytes.Buffer
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "::%s file=%s", f.Severity, commandProperty.Replace(f.File))
		if f.Line > 0 {
			fmt.Fprintf(&b, ",line=%d", f.Line)
		}
		if f.Column > 0 {
			fmt.Fprintf(&b, ",col=%d", f.Column)
		}
		fmt.Fprintf(&b, "::%s\n", commandData.Replace(f.message()))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// input is the file system as the user names it, with standard input under the
// name -. It remembers which files were read.
type input struct {
	disk
	stdin  []byte // nil: not asked for
	opened map[string]bool
}

// resolve cleans paths in place and reads stdin if one of them is -.
func (in *input) resolve(paths []string, stdin io.Reader) error {
	for i, p := range paths {
		if p != "-" {
			if paths[i] = filepath.Clean(p); paths[i] == "-" {
				paths[i] = "./-" // a file of that name
			}
			continue
		}
		if in.stdin != nil {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(stdin, source.MaxBytes+1))
		if err != nil {
			return fmt.Errorf("-: %w", err)
		}
		in.stdin = append([]byte{}, data...)
	}
	return nil
}

// Open implements fs.FS.
func (in *input) Open(name string) (fs.File, error) {
	if name == "-" && in.stdin != nil {
		in.opened[name] = true
		return &memory{*bytes.NewReader(in.stdin)}, nil
	}
	f, err := in.disk.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && !info.IsDir() {
		in.opened[name] = true
	}
	return f, nil
}

// Stat implements fs.StatFS, so that a pipe is told from a file without opening
// it.
func (in *input) Stat(name string) (fs.FileInfo, error) {
	if name == "-" && in.stdin != nil {
		return &memory{*bytes.NewReader(in.stdin)}, nil
	}
	return os.Stat(name)
}

// memory is standard input as a file.
type memory struct{ bytes.Reader }

func (m *memory) Stat() (fs.FileInfo, error) { return m, nil }
func (m *memory) Close() error               { return nil }
func (m *memory) Name() string               { return "-" }
func (m *memory) Mode() fs.FileMode          { return 0o444 }
func (m *memory) ModTime() time.Time         { return time.Time{} }
func (m *memory) IsDir() bool                { return false }
func (m *memory) Sys() any                   { return nil }

// count writes how many of something there are: 1 file, 2 files.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
