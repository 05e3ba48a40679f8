//go:build e2e && linux

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestE2EContainer runs the static binary as the image does, without an engine:
// with nothing around it but what the Dockerfile puts there, as the image's
// user, who can write below /data only.
func TestE2EContainer(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("only root may change its root directory; want root where CI=true")
		}
		t.Skip("only root may change its root directory")
	}
	const user = 65532
	if !slices.Contains(instructions(t), fmt.Sprintf("USER %d:%[1]d", user)) {
		t.Fatalf("the image's user is not %d", user)
	}
	root := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(root, "slowburn"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	slos, err := os.ReadFile(filepath.Join(deployed, "compose", "slos.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"data", "etc/slowburn"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc/slowburn/slos.yaml"), slos, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(root, "data"), user, user); err != nil {
		t.Fatal(err)
	}
	// Test directories can be entered by their owner alone.
	for dir := root; strings.HasPrefix(dir, os.TempDir()+string(filepath.Separator)); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}

	env := imageEnv(t)
	page, otlp := freePort(t), freePort(t)
	env["SLOWBURN_LISTEN"], env["SLOWBURN_OTLP_HTTP_LISTEN"], env["SLOWBURN_OTLP_GRPC_LISTEN"] = page, otlp, freePort(t)
	var out bytes.Buffer
	command := func(args ...string) *exec.Cmd {
		c := exec.Command("/slowburn", args...)
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: user, Gid: user}}
		c.Dir = "/data"
		c.Env = []string{}
		for _, k := range slices.Sorted(maps.Keys(env)) {
			c.Env = append(c.Env, k+"="+env[k])
		}
		c.Stdout, c.Stderr = &out, &out
		return c
	}
	before := files(t, root)
	serve := command("serve")
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve.Wait() }()
	defer serve.Process.Kill()
	eventually(t, time.Minute, func() error {
		select {
		case err := <-ended:
			t.Fatalf("serve ended: %v\n%s", err, out.String())
		default:
		}
		check := exec.Command("/slowburn", "status", "--ready", "--url", "http://"+page) // as the health check does, on another port
		check.SysProcAttr = command().SysProcAttr
		check.Dir = "/"
		if text, err := check.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, text)
		}
		return nil
	})
	resp, err := http.Post("http://"+otlp+"/v1/traces", "application/x-protobuf", bytes.NewReader(checkouts(t, 10, false)))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("sending spans = %v, %v, want 200", resp, err)
	}
	resp.Body.Close()
	if err := serve.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("serve = %v, want a clean end\n%s", err, out.String())
	}
	for _, name := range files(t, root) {
		if !slices.Contains(before, name) && !strings.HasPrefix(name, "data/") {
			t.Errorf("it wrote %s; want what it keeps below data", name)
		}
	}
	if err := command("generate", "--to", "grafana", "--out", "/data/dashboards").Run(); err != nil {
		t.Errorf("generate as the service dashboards does = %v\n%s", err, out.String())
	}
}

// files returns the names of all below root.
func files(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		out = append(out, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
