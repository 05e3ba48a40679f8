package otlp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// refusal is why a whole request was not taken, once for both transports.
// A refusal with retry is the only kind a sender may send again.
type refusal struct {
	reason reason
	http   int
	code   codes.Code
	retry  time.Duration // > 0: come back after
	msg    string
}

// Error returns the message the sender hears.
func (r *refusal) Error() string { return r.msg }

// status returns the refusal as both transports put it on the wire: for bad
// data with a BadRequest, for overload with a RetryInfo.
func (r *refusal) status() *status.Status {
	// A sink's error may quote the sender, and protobuf takes valid text only.
	msg := strings.ToValidUTF8(r.msg, "\uFFFD")
	st := status.New(r.code, msg)
	var detail protoadapt.MessageV1
	switch {
	case r.retry > 0:
		detail = &errdetails.RetryInfo{RetryDelay: durationpb.New(r.retry)}
	case r.http == http.StatusBadRequest:
		detail = &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Description: msg}}}
	default:
		return st
	}
	detailed, err := st.WithDetails(detail)
	if err != nil {
		return st // only a status of code OK takes no details
	}
	return detailed
}

var refusalPanic = refusal{
	reason: reasonPanic, http: http.StatusInternalServerError, code: codes.Internal,
	msg: "internal error; the server's log has the details",
}

// refusalOf turns any error on a request's way into a refusal.
func refusalOf(err error) *refusal {
	if r := (*refusal)(nil); errors.As(err, &r) {
		return r
	}
	if o := (Overload{}); errors.As(err, &o) {
		return overloaded(o.Why, max(o.RetryAfter, time.Second))
	}
	if t := (TooLarge{}); errors.As(err, &t) {
		return &refusal{reason: reasonTooLarge, http: http.StatusRequestEntityTooLarge, code: codes.ResourceExhausted, msg: t.Why}
	}
	return badRequest(reasonMalformed, err.Error())
}

func badRequest(why reason, msg string) *refusal {
	return &refusal{reason: why, http: http.StatusBadRequest, code: codes.InvalidArgument, msg: msg}
}

func unsupported(why reason, msg string) *refusal {
	return &refusal{reason: why, http: http.StatusUnsupportedMediaType, code: codes.InvalidArgument, msg: msg}
}

func tooLarge(limit int) *refusal {
	return refusalOf(TooLarge{Why: fmt.Sprintf("the request is over the limit of %d bytes after decompression; send smaller batches", limit)})
}

func overloaded(msg string, retry time.Duration) *refusal {
	return &refusal{reason: reasonOverloaded, http: http.StatusServiceUnavailable, code: codes.Unavailable, retry: retry, msg: msg}
}

// busy refuses a request there is no memory for right now. Bodies are held for
// milliseconds, so the wait is short, and spread so that those refused together
// do not come back together.
func busy() *refusal {
	return overloaded("too many bytes in flight; come back later", time.Duration(1+rand.IntN(5))*time.Second)
}
