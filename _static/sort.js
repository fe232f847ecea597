/* The ledger's tables are sorted by the column whose title is pressed; again, the other way round. */
addEventListener("load", () => {
  for (const table of document.querySelectorAll(".sortable table")) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.ariaSort === "ascending";
        for (const other of table.tHead.rows[0].cells) other.ariaSort = null;
        head.ariaSort = down ? "descending" : "ascending";
        const text = (row) => row.cells[column].textContent.trim();
        const rows = [...body.rows].sort((a, b) =>
          text(a).localeCompare(text(b), undefined, { numeric: true })
        );
        body.append(...(down ? rows.reverse() : rows));
      });
    });
  }
});
