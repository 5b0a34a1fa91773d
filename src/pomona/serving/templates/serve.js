"use strict";
{
  const ask = document.getElementById("ask"), answer = document.getElementById("answer");
  const preview = document.getElementById("preview"), inputs = ask.querySelectorAll("input[type=file]");
  let turn = 0;

  const tell = (text) => {
    const line = document.createElement("p");
    line.className = "problem";
    line.textContent = text;
    return line;
  };

  // Sends a form, and shows the part of the server's page that is its answer.
  const send = async (form, body) => {
    const own = ++turn, into = form.dataset.into, token = ask.querySelector("[name=token]");
    document.body.classList.add("busy");
    let shown;
    try {
      const headers = token ? { Authorization: `Bearer ${token.value}` } : {};
      const response = await fetch(form.action, { method: "POST", body, headers });
      const text = await response.text();
      if ((response.headers.get("content-type") || "").startsWith("text/html")) {
        const page = new DOMParser().parseFromString(text, "text/html");
        const problem = page.querySelector(".problem");
        shown = problem ? [problem] : [...page.getElementById(into).childNodes];
      } else {
        shown = [tell(JSON.parse(text).detail)];
      }
    } catch {
      shown = [tell("The server does not answer: try again.")];
    }
    if (own !== turn) return;
    document.body.classList.remove("busy");
    document.getElementById(into).replaceChildren(...shown);
    document.querySelectorAll(".again").forEach((each) => each.remove());
  };

  const show = (file) => {
    URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(file);
    preview.hidden = false;
    const body = new FormData();
    body.append("photograph", file, "photograph");
    if (ask.reportValidity()) send(ask, body);
  };

  preview.addEventListener("error", () => { preview.hidden = true; });
  for (const input of inputs) {
    input.addEventListener("change", () => {
      if (!input.files.length) return;
      inputs.forEach((other) => { if (other !== input) other.value = ""; });
      show(input.files[0]);
    });
  }
  ask.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = [...inputs].find((input) => input.files.length);
    if (chosen) show(chosen.files[0]);
    else answer.replaceChildren(tell("Choose a photograph first."));
  });
  answer.addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.target, body = new URLSearchParams(new FormData(form));
    if (event.submitter && event.submitter.name) body.set(event.submitter.name, event.submitter.value);
    send(form, body);
  });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      document.body.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files.length) show(event.dataTransfer.files[0]);
    });
  }
}
