"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const state = at("state");
  const headers = { "X-Medcnn": "1" };
  const entry = at("entry");
  if (entry) {
    entry.addEventListener("submit", async (event) => {
      event.preventDefault();
      const sent = await fetch("/enter", { method: "POST", headers, body: at("token").value });
      if (sent.ok) location.reload();
      else state.textContent = await sent.text();
    });
    return;
  }
  const results = at("results"), drop = at("drop"), input = at("files");
  const files = new Map();
  const said = async (path, options) => {
    try {
      const sent = await fetch(path, { method: "POST", ...options });
      return [sent.ok, await sent.text()];
    } catch {
      return [false, "The server does not answer. Is it still running?"];
    }
  };
  const keep = async (section, kind, classes) => {
    const form = section.querySelector(".answer"), told = form.querySelector("output");
    const { file, drop } = files.get(section);
    const answer = new URLSearchParams({ kind, drop });
    classes.forEach((name) => answer.append("class", name));
    told.className = "";
    told.textContent = "keeping ...";
    const [ok, text] = await said(`/answer?${answer}`, { headers, body: file });
    told.className = ok ? "" : "alarm";
    told.textContent = text;
    if (!ok) return;
    form.querySelector("fieldset").hidden = true;
    section.focus({ preventScroll: true });
  };
  const wire = (section) => {
    const form = section.querySelector(".answer");
    if (!form) return;
    const fields = form.querySelector("fieldset"), correct = form.querySelector(".correct");
    const agree = form.querySelector(".agree");
    agree.addEventListener("click", () => {
      keep(section, "agreed", JSON.parse(agree.dataset.classes));
    });
    correct.addEventListener("click", () => {
      fields.hidden = !fields.hidden;
      correct.setAttribute("aria-expanded", String(!fields.hidden));
      if (!fields.hidden) (fields.querySelector(":checked") || fields.querySelector("input")).focus();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const chosen = [...fields.querySelectorAll(":checked")].map((box) => box.value);
      keep(section, "corrected", chosen);
    });
  };
  const judge = async (chosen) => {
    const drop = crypto.randomUUID ? crypto.randomUUID() : String(Math.random());
    const most = Number(results.dataset.most);
    let first = null;
    for (const [i, file] of [...chosen].entries()) {
      state.textContent = `image ${i + 1} of ${chosen.length} ...`;
      const section = document.createElement("section");
      section.className = "one-image";
      section.tabIndex = -1;
      const title = document.createElement("h2");
      title.textContent = file.name;
      const body = document.createElement("div");
      section.append(title, body);
      files.set(section, { file, drop });
      results.prepend(section);
      if (first) first.after(section);
      first = section;
      const [ok, text] = file.size > most * 1e6
        ? [false, `The file has ${Math.ceil(file.size / 1e6)} MB, more than the ${most} MB allowed.`]
        : await said("/judge", { headers, body: file });
      if (ok) body.innerHTML = text;
      else {
        body.className = "alarm";
        body.textContent = text;
      }
      wire(section);
      if (!i) section.focus();
    }
    state.textContent = "";
  };
  input.addEventListener("change", async () => {
    const chosen = [...input.files];
    input.value = "";
    await judge(chosen);
  });
  for (const name of ["dragover", "dragleave", "drop"])
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files.length) judge([...event.dataTransfer.files]);
    });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const all = [...document.querySelectorAll(".one-image")];
    const here = all.indexOf(document.activeElement.closest(".one-image"));
    // of several images, only the one in focus gets an answer by key
    const now = all[here < 0 && all.length === 1 ? 0 : here];
    const press = (what) => now && now.querySelector(what) && now.querySelector(what).click();
    if (event.key === "o") input.click();
    else if (event.key === "a") press(".agree");
    else if (event.key === "c") press(".correct");
    else if (event.key === "j" || event.key === "k") {
      const next = all[here + (event.key === "j" ? 1 : -1)];
      if (next) next.focus();
    } else return;
    event.preventDefault();
  });
  const receipts = at("receipts");
  let shown = "";
  const refresh = async () => {
    try {
      const sent = await fetch("/receipts", { headers });
      const text = await sent.text();
      // only if it changed: a button in focus stays so
      if (sent.ok && text !== shown) receipts.innerHTML = shown = text;
    } catch {}
  };
  receipts.addEventListener("click", async (event) => {
    const { do: what, ask } = event.target.dataset;
    if (!what || !confirm(ask)) return;
    const [ok, text] = await said(`/failed?do=${what}`, { headers });
    state.textContent = ok ? "" : text;
    refresh();
  });
  if (receipts.dataset.receiver) {
    refresh();
    setInterval(refresh, 5000);
  }
})();
