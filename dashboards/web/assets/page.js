"use strict";

// A page that is left open must not look alive when it no longer is. When
// slowburn stops answering, this says so and since when; the figures stay, as
// of then. A page nobody looks at asks for nothing.
(() => {
  const lost = document.getElementById("lost");
  let answered = new Date();

  const span = (ms) => {
    const s = Math.round(ms / 1000);
    return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h`;
  };

  addEventListener("htmx:before:request", (event) => {
    if (document.hidden) event.preventDefault();
  });
  addEventListener("htmx:after:swap", (event) => {
    if (event.detail.ctx.response.status >= 500) return; // nothing was swapped
    answered = new Date();
    lost.hidden = true;
  });
  for (const failure of ["htmx:error", "htmx:response:error"]) {
    addEventListener(failure, () => {
      const at = answered.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      lost.textContent = `slowburn has not answered for ${span(new Date() - answered)}. Everything below is from ${at}.`;
      lost.hidden = false;
    });
  }
})();
