package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"
)

// account is how far an objective is counted.
type account struct {
	Until time.Time `json:"until"` // end of the last minute counted

	// Good and Bad are the parts of an event that were not counted yet, so
	// that over time every event is. They may be as little as −1e-6.
	Good float64 `json:"good,omitempty"`
	Bad  float64 `json:"bad,omitempty"`
}

// count takes the events of the minute that ended at and returns whole ones.
func (a *account) count(at time.Time, good, bad float64) (g, b uint64) {
	a.Until = at
	a.Good += good
	a.Bad += bad
	return whole(&a.Good), whole(&a.Bad)
}

// whole takes the whole events out of x. Twelve events may come as
// 11.999999999999998 from a query.
func whole(x *float64) uint64 {
	n := max(0, math.Floor(*x+1e-6))
	*x -= n
	return uint64(n)
}

// readAccounts reads what writeAccounts wrote. What cannot be read is said, and
// counting begins anew.
func readAccounts(file string, logger *slog.Logger) map[string]*account {
	out := map[string]*account{}
	if file == "" {
		return out
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return out
	}
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	for id, a := range out {
		if a == nil || !(math.Abs(a.Good) <= 1 && math.Abs(a.Bad) <= 1) {
			err = errors.Join(err, fmt.Errorf("SLO %s has no account", id))
		}
	}
	if err != nil {
		logger.Error("up to where PromQL objectives were counted cannot be read; counting begins now", "file", file, "err", err)
		return map[string]*account{}
	}
	return out
}

// writeAccounts replaces the file at once: after a crash there is the old one
// or the new one. It makes the directory where missing.
func writeAccounts(file string, accounts map[string]*account) error {
	if file == "" {
		return nil
	}
	data, err := json.MarshalIndent(accounts, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}
