package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/openslo"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

// converter is the command convert as it was called.
type converter struct {
	to     string
	out    string
	force  bool
	strict bool
}

func newConvert() *cobra.Command {
	var c converter
	cmd := &cobra.Command{
		Use:   "convert PATH…",
		Short: "Write SLOs of any format as slowburn's, or as OpenSLO",
		Long: `Write SLOs as slowburn YAML or OpenSLO v1. PATHs are files and directories of
slowburn, Sloth, OpenSLO and Pyrra, in any mix; - is standard input. Identities, labels and windows
stay, so that dashboards and alert routes go on working.

  slowburn convert sloth/checkout.yml              to standard output
  slowburn convert sloth/ pyrra/ --out slos        to a file for each service
  slowburn convert slos/ --to openslo              as OpenSLO v1

What the other format cannot say is told on standard error, by file and line.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error { return c.run(cmd, paths) },
	}
	cmd.Flags().StringVar(&c.to, "to", "slowburn", "format to write: slowburn or openslo")
	cmd.Flags().StringVar(&c.out, "out", "", "directory to write a file for each service to; made if it is missing")
	cmd.Flags().BoolVar(&c.force, "force", false, "overwrite files in --out")
	cmd.Flags().BoolVar(&c.strict, "strict", false, "write nothing and fail if there are warnings")
	return cmd
}

func (c *converter) run(cmd *cobra.Command, paths []string) error {
	in := &input{opened: map[string]bool{}}
	if err := in.resolve(paths, cmd.InOrStdin()); err != nil {
		return err
	}
	config, err := spec.Load(in, paths...)
	if err != nil {
		return err
	}
	files, lost, err := c.write(config.Flows)
	if err != nil {
		return err
	}
	var warnings []string
	for _, w := range config.Warnings {
		warnings = append(warnings, w.String())
	}
	warnings = append(warnings, lost...)
	for _, w := range warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), "slowburn: warning:", w)
	}
	switch {
	case c.strict && len(warnings) > 0:
		return fmt.Errorf("--strict: %s, so nothing was written; want none", count(len(warnings), "warning"))
	case c.out != "":
		return save(c.out, files, c.force)
	case len(files) == 1:
		_, err := cmd.OutOrStdout().Write(files[0].Data)
		return err
	case c.to == "openslo": // which has several documents in one file
		for _, f := range files {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "---\n%s", f.Data); err != nil {
				return err
			}
		}
		return nil
	}
	names := make([]string, len(files))
	for i := range files {
		names[i] = files[i].Name
	}
	return fmt.Errorf("--out is missing: these SLOs take %d files, %s; want the directory for them", len(files), strings.Join(names, ", "))
}

// write returns flows in the wanted format, a file for each service, and what
// is lost in it.
func (c *converter) write(flows []slo.Flow) (files []spec.File, lost []string, err error) {
	switch c.to {
	case "slowburn":
		files, err = spec.Marshal(flows)
		return files, nil, err
	case "openslo":
		taken := map[string]bool{}
		for _, flows := range spec.ByService(flows) {
			data, missing, err := openslo.Write(flows)
			if err != nil {
				return nil, nil, err
			}
			files = append(files, spec.File{Name: spec.FileName(flows[0].Service, taken), Data: data})
			lost = append(lost, missing...)
		}
		return files, lost, nil
	default:
		return nil, nil, fmt.Errorf("--to: %q is not a format; want slowburn or openslo", c.to)
	}
}

// save writes files to a directory: each is there whole or not at all, and
// without force none replaces another.
func save(dir string, files []spec.File, force bool) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer root.Close() // holds nothing unwritten
	var there []error
	for _, f := range files {
		if _, err := root.Lstat(f.Name); !errors.Is(err, fs.ErrNotExist) && !force {
			there = append(there, fmt.Errorf("%s: is there already; want another --out, or --force to overwrite it", filepath.Join(dir, f.Name)))
		}
	}
	if len(there) > 0 {
		return errors.Join(there...)
	}
	for _, f := range files {
		if err := saveFile(root, f); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	return nil
}

func saveFile(root *os.Root, f spec.File) (err error) {
	part := "." + f.Name + ".part" // hidden from who loads the directory meanwhile
	_ = root.Remove(part)          // left by a run that was killed
	w, err := root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = w.Write(f.Data)
	if err = errors.Join(err, w.Sync(), w.Close()); err == nil {
		err = root.Rename(part, f.Name)
	}
	if err != nil {
		_ = root.Remove(part) // what is wrong has been said
	}
	return err
}
