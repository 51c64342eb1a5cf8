// Keeps the parts of a page marked data-live fresh: fetches the same page and swaps them in, without moving the reader.

const parts = () => [...document.querySelectorAll("[data-live][id]")];

function period_ms() {
  const asked = parts().map((part) => Number(part.dataset.refreshS)).filter((s) => s > 0);
  return asked.length ? Math.min(...asked) * 1000 : null;
}

async function refresh() {
  if (document.hidden) return;
  // A page that answered a form has another address than the page it shows.
  const url = parts().find((part) => part.dataset.liveUrl)?.dataset.liveUrl ?? location.href;
  const answer = await fetch(url, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(`the page answered ${answer.status}`);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of parts()) {
    const next = fresh.getElementById(part.id);
    if (!next || next.innerHTML === part.innerHTML) continue;
    // Never pull a form from under someone who is filling it in.
    if (part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) continue;
    const open = [...part.querySelectorAll("details")].map((details) => details.open);
    const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    part.replaceChildren(...next.childNodes);
    part.dataset.refreshS = next.dataset.refreshS ?? "";
    part.querySelectorAll("details").forEach((details, k) => { details.open = open[k] ?? false; });
    if (focused !== null) part.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
  const clock = fresh.querySelector(".clock");
  if (clock) document.querySelector(".clock")?.replaceChildren(...clock.childNodes);
}

async function loop() {
  const wait = period_ms();
  if (wait === null) return;
  await new Promise((resolve) => setTimeout(resolve, wait));
  try {
    await refresh();
    document.body.classList.remove("stale-page");
  } catch (error) {
    // The service is away: say so on the page, and go on asking.
    console.warn("page not refreshed:", error);
    document.body.classList.add("stale-page");
  }
  loop();
}

// Tables marked data-sortable are sorted by their heads; cells without a value stay last.
function make_sortable(table) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("n");
      const down = head.ariaSort === "ascending" || (numeric && head.ariaSort !== "descending");
      [...table.tHead.rows[0].cells].forEach((other) => { other.ariaSort = null; });
      head.ariaSort = down ? "descending" : "ascending";
      const keyed = [...body.rows].map((row) => ({ row, key: key_of(row.cells[column]) }));
      keyed.sort((a, b) => {
        if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
        const order = typeof a.key === "number" && typeof b.key === "number" ? a.key - b.key : String(a.key).localeCompare(String(b.key), undefined, { numeric: true });
        return down ? -order : order;
      });
      body.append(...keyed.map(({ row }) => row));
    });
  });
}

function key_of(cell) {
  const text = (cell.dataset.sort ?? cell.textContent).trim();
  if (text === "" || text === "–") return null;
  const plain = text.split("\n")[0].replace(/,/g, "").replace("−", "-");
  return /^-?[\d.]+( %)?$/.test(plain) ? Number.parseFloat(plain) : text;
}

document.querySelectorAll("table[data-sortable]").forEach(make_sortable);
document.querySelector(".refusal[tabindex]")?.focus();
loop();
