"use strict";

// Shows new messages by itself: asks for the page again and, where its
// messages differ, puts them in. A reader at the end stays at the end.
(() => {
  const refresh = async () => {
    if (document.hidden) return;
    const answer = await fetch("", { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = document.getElementById("messages");
    const next = page.getElementById("messages");
    if (!answer.ok || !next || next.innerHTML === now.innerHTML) return;
    const atEnd = innerHeight + scrollY >= document.body.scrollHeight - 40;
    now.replaceWith(next);
    document.querySelector("h1").textContent = page.querySelector("h1").textContent;
    document.title = page.title;
    if (atEnd) scrollTo(0, document.body.scrollHeight);
  };
  scrollTo(0, document.body.scrollHeight);
  setInterval(() => refresh().catch(() => {}), 2000); // tries again next time
})();
