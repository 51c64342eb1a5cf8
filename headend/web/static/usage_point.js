// Draws one day's intervals (headend/web/day_plot.py) as bars coloured by quality, and lets a stretch be chosen on them:
// drag over the bars, or click two of them; the form beside takes the times.

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const COLOR = {
  absent: "--none",
  measured: "--plot-supplied",
  interpolated: "--plot-other0",
  estimated: "--plot-other1",
  edited: "--plot-mark",
  zero_by_event: "--plot-other3",
};

function bars(data) {
  const kinds = [...new Set(data.quality)].filter((kind) => kind !== "absent");
  const middle = data.x.map((x) => new Date(`${x}Z`).getTime() + data.width_ms / 2);
  const at = middle.map((ms) => new Date(ms).toISOString().slice(0, 19));
  const made = kinds.map((kind) => {
    const mine = data.quality.map((q, k) => (q === kind ? k : -1)).filter((k) => k >= 0);
    return {
      type: "bar",
      name: data.words[kind],
      x: mine.map((k) => at[k]),
      y: mine.map((k) => data.kwh[k]),
      width: mine.map(() => data.width_ms),
      text: mine.map((k) => data.hover[k]),
      textposition: "none",
      customdata: mine,
      hovertemplate: "%{text}<br><b>%{y:,.3f} kWh</b><extra></extra>",
      marker: {
        color: token(COLOR[kind]),
        line: { width: mine.map((k) => (data.faults[k] ? 2 : 0.5)), color: mine.map((k) => token(data.faults[k] ? "--bad" : "--surface")) },
      },
    };
  });
  const absent = data.quality.map((q, k) => (q === "absent" ? k : -1)).filter((k) => k >= 0);
  if (absent.length) {
    made.push({
      type: "scatter", mode: "markers", name: data.words.absent, x: absent.map((k) => at[k]), y: absent.map(() => 0),
      text: absent.map((k) => data.hover[k]), hovertemplate: "%{text}<extra></extra>", customdata: absent,
      marker: { symbol: "x-thin", size: 6, line: { width: 1.5, color: token("--bad") } },
    });
  }
  const line = (name, values, color, dash) => ({
    type: "scatter", mode: "lines", name, x: [...data.x, at.at(-1)], y: [...values, values.at(-1)], connectgaps: false,
    line: { shape: "hv", width: 2, dash, color: token(color) }, hovertemplate: `%{y:,.3f} kWh<extra>${name}</extra>`,
  });
  if (data.before_kwh.some((v) => v !== null)) made.push(line("Before editing 编辑前", data.before_kwh, "--muted", "dot"));
  if (data.tried_kwh) made.push(line("Tried out 试算", data.tried_kwh, "--bad", "solid"));
  return made;
}

function layout(data, narrow, chosen) {
  const grid = token("--line");
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: narrow ? 11 : 12, color: token("--text") },
    margin: { l: narrow ? 44 : 58, r: 14, t: 12, b: 46 },
    bargap: 0,
    barmode: "overlay",
    hovermode: "closest",
    hoverlabel: { bgcolor: token("--surface"), bordercolor: grid, font: { color: token("--text") }, align: "left" },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    dragmode: narrow ? false : "select",
    selectdirection: "h",
    xaxis: { type: "date", gridcolor: grid, linecolor: grid, nticks: narrow ? 5 : 12, hoverformat: "%H:%M", tickformat: "%H:%M\n%d %b" },
    yaxis: { title: { text: narrow ? "kWh" : `kWh in ${data.interval_s / 60} min`, font: { size: 11 } }, gridcolor: grid, zerolinecolor: token("--muted"), rangemode: "tozero", fixedrange: true, automargin: true },
    shapes: chosen ? [{ type: "rect", xref: "x", yref: "paper", x0: chosen[0], x1: chosen[1], y0: 0, y1: 1, line: { width: 1, color: token("--focus") }, fillcolor: "rgba(217, 119, 6, .14)", layer: "below" }] : [],
  };
}

const figure = document.querySelector("[data-day-plot]");
const canvas = figure?.querySelector(".plot-canvas");
const data = figure ? JSON.parse(figure.querySelector("script[type='application/json']").textContent) : null;
const field = (name) => document.querySelector(`form[data-edit] [name=${name}]`);
let first = null;

// Wall clock of an interval's start, or of its end.
function wall(k, end) {
  const ms = new Date(`${data.x[k]}Z`).getTime() + (end ? data.width_ms : 0);
  return new Date(ms).toISOString().slice(0, 16);
}

function chosen() {
  const [from, to] = [field("from")?.value, field("to")?.value];
  return from && to ? [from, to] : null;
}

function choose(low, high) {
  if (!field("from")) return;
  field("from").value = wall(low, false);
  field("to").value = wall(high, true);
  tell();
  draw();
}

// What is chosen, in numbers, so that nobody has to count intervals.
function tell() {
  const note = document.querySelector("[data-chosen]");
  if (!note) return;
  const span = chosen();
  const inside = span ? data.x.map((x, k) => k).filter((k) => wall(k, false) >= span[0] && wall(k, true) <= span[1]) : [];
  const sum = inside.reduce((total, k) => total + (data.kwh[k] ?? 0), 0);
  note.textContent = inside.length ? `${inside.length} intervals of this day chosen, ${sum.toFixed(3)} kWh now` : "";
}

function draw() {
  const narrow = canvas.clientWidth < 560;
  canvas.querySelector(".plot-wait")?.remove();
  return Plotly.react(canvas, bars(data), layout(data, narrow, chosen()), {
    responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false,
  });
}

if (figure && globalThis.Plotly) {
  draw();
  canvas.on("plotly_selected", (event) => {
    const picked = event?.points?.map((p) => p.customdata).filter((k) => k !== undefined) ?? [];
    if (picked.length) choose(Math.min(...picked), Math.max(...picked));
  });
  canvas.on("plotly_click", (event) => {
    const k = event.points[0]?.customdata;
    if (k === undefined) return;
    choose(first === null ? k : Math.min(first, k), first === null ? k : Math.max(first, k));
    first = first === null ? k : null;
  });
  for (const name of ["from", "to"]) field(name)?.addEventListener("change", () => { tell(); draw(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  tell();
} else if (figure) {
  const wait = figure.querySelector(".plot-wait");
  if (wait) wait.textContent = "The plot library could not be loaded; the numbers are in the table.";
}
document.documentElement.dataset.plots = "ready";
