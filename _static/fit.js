/* A formula wider than its column is drawn smaller, on a phone and in print too: MathJax 3 breaks
   no lines. The style of a formula holds its width in em, and the browser does the rest whenever
   the column changes. */
(() => {
  const fit = () => {
    for (const formula of document.querySelectorAll("mjx-container:not([data-fitted])")) {
      const wide = formula.firstElementChild.getBoundingClientRect().width;
      if (!wide) continue; // in a folded part: when it opens
      const em = parseFloat(getComputedStyle(formula).fontSize);
      const room = formula.hasAttribute("display") ? "99cqi" : "90cqi";
      formula.style.fontSize = `min(${formula.style.fontSize || "100%"}, ${room} * ${em / wide})`;
      formula.dataset.fitted = "";
    }
  };
  addEventListener("load", async () => {
    await window.MathJax?.startup?.promise;
    fit();
    document.addEventListener("toggle", fit, true);
  });
})();
