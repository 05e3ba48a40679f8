package spec

import _ "embed" // schema.json

//go:embed schema.json
var schema string

// Schema returns the JSON Schema (draft 2020-12) of slowburn's language, for
// editors that complete and check while one types. It accepts every file that
// Load accepts; Load finds more, such as two flows of one name.
func Schema() string { return schema }
