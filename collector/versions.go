package collector

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// maxVersions is how many versions of a service are kept, the newest.
	maxVersions = 20

	// absence is how long a service must have run without a version that comes
	// back, for that to be a deploy. Rolling out mixes two versions for minutes.
	absence = 5 * time.Minute

	// churn is how old the oldest of maxVersions must be to make room: a service
	// that says another version with every request makes no more series than that.
	churn = time.Hour
)

// history holds the versions of a service.
type history struct {
	versions []version // by First

	// ran is how long the service was seen to run. Time in which it was silent
	// does not count: nothing was heard of any version then.
	ran time.Duration
}

type version struct {
	Version
	ran time.Duration // of the service, when the version was seen last
}

// deploy takes in that a version was seen at now (ns) and reports whether that
// is news.
func (h *history) deploy(value []byte, now int64) bool {
	var buf [maxText]byte
	clean := appendText(buf[:0], value)
	i := slices.IndexFunc(h.versions, func(v version) bool { return v.Value == string(clean) })
	if i >= 0 {
		v := &h.versions[i]
		gone := h.ran - v.ran
		v.ran = h.ran
		if gone < absence {
			return false
		}
		h.versions = slices.Delete(h.versions, i, i+1)
	}
	at := time.Unix(0, now)
	if len(h.versions) >= maxVersions {
		if at.Sub(h.versions[0].First) < churn {
			return false
		}
		h.versions = slices.Delete(h.versions, 0, 1)
	}
	h.versions = append(h.versions, version{Version{string(clean), at}, h.ran})
	return true
}

// deploys tells of the versions of all services that a flow names.
func (a *arrivals) deploys(visit func(service string, v Version)) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, s := range a.services {
		if !s.named {
			continue
		}
		for _, v := range s.versions {
			visit(s.name, v.Version)
		}
	}
}

// The file versions, beside the ledger's, holds the versions of each service by
// name, so that a restart is no deploy. It is written when they change.
type savedVersion struct {
	Version   string    `json:"version"`
	FirstSeen time.Time `json:"first_seen"`
}

func versionsFile(dir string) string { return filepath.Join(dir, "versions.json") }

// save writes the versions to dir if they changed since the last time.
func (a *arrivals) save(dir string) error {
	a.mu.Lock()
	if !a.deployed {
		a.mu.Unlock()
		return nil
	}
	a.deployed = false
	saved := map[string][]savedVersion{}
	for _, s := range a.services {
		for _, v := range s.versions {
			saved[s.name] = append(saved[s.name], savedVersion{v.Value, v.First})
		}
	}
	a.mu.Unlock()
	data, err := json.Marshal(saved)
	if err == nil {
		err = writeSynced(versionsFile(dir), data)
	}
	if err != nil {
		a.mu.Lock()
		a.deployed = true // the next flush tries again
		a.mu.Unlock()
		return fmt.Errorf("versions of services: %w", err)
	}
	return nil
}

// load reads what save wrote, before anything arrives. A file that cannot be
// read as such is kept for people, and said in the log.
func (a *arrivals) load(j *journal, now time.Time) error {
	path := versionsFile(j.dir)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("versions of services: %w", err)
	}
	var saved map[string][]savedVersion
	if err := json.Unmarshal(data, &saved); err != nil {
		j.logger.Error("the versions of services cannot be read: those that run will look like new deploys", "path", path, "err", err)
		return j.quarantine(path)
	}
	for name, versions := range saved {
		s := newService(name, now.UnixNano())
		for _, v := range versions[max(0, len(versions)-maxVersions):] {
			s.versions = append(s.versions, version{Version: Version{v.Version, v.FirstSeen}})
		}
		if len(a.services) < maxServices {
			a.services[name] = s
		}
	}
	return nil
}
