// The run picker of a chapter: the list of links stays; with JavaScript there is a choice beside it.
"use strict";

for (const form of document.querySelectorAll("form.run-choice")) {
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    window.location.href = form.elements.run.value;
  });
}
