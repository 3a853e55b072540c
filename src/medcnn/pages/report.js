(() => {
  const tables = JSON.parse(document.getElementById("cuts").textContent);
  const at = (id) => document.getElementById(id);
  const percent = (share) => (Number.isFinite(share) ? (100 * share).toFixed(1) + " %" : "n/a");
  const count = (n) => n.toLocaleString("en-US");
  const show = () => {
    const t = tables[Number(at("cut-label").value)];
    const i = Number(at("cut-slider").value);
    const found = t.found[i], alarms = t.alarms[i];
    const missed = t.positives - found, cleared = t.negatives - alarms;
    const sensitivity = found / t.positives, specificity = cleared / t.negatives;
    // Number reads an empty field as 0, and Bayes' theorem accepts any number without complaint
    const typed = at("cut-prevalence").valueAsNumber / 100;
    const ill = typed >= 0 && typed <= 1 ? typed : NaN;
    at("cut-threshold").textContent = t.thresholds[i].toPrecision(3);
    at("cut-slider").setAttribute("aria-valuetext", "threshold " + t.thresholds[i].toPrecision(3));
    at("cut-found").textContent = count(found);
    at("cut-missed").textContent = count(missed);
    at("cut-alarms").textContent = count(alarms);
    at("cut-cleared").textContent = count(cleared);
    at("cut-sensitivity").textContent = percent(sensitivity);
    at("cut-specificity").textContent = percent(specificity);
    const called = sensitivity * ill + (1 - specificity) * (1 - ill);
    const quiet = specificity * (1 - ill) + (1 - sensitivity) * ill;
    at("cut-ppv").textContent = percent((sensitivity * ill) / called);
    at("cut-npv").textContent = percent((specificity * (1 - ill)) / quiet);
  };
  const choose = () => {
    const t = tables[Number(at("cut-label").value)];
    at("cut-slider").max = t.thresholds.length - 1;
    at("cut-slider").value = t.start;
    at("cut-prevalence").value = +((100 * t.prevalence).toPrecision(3));
    show();
  };
  at("cut-label").addEventListener("change", choose);
  at("cut-slider").addEventListener("input", show);
  at("cut-prevalence").addEventListener("input", show);
  choose();
})();
