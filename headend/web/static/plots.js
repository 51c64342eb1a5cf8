// Draws the plots of a page from the JSON beside them (headend/web/plots.py) with the plotly bundle that we serve.

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const ROLE = {
  supplied: { color: "--plot-supplied", width: 2 },
  delivered: { color: "--plot-delivered", width: 2 },
  loss: { color: "--plot-loss", width: 2 },
  after: { color: "--plot-after", width: 2 },
  technical: { color: "--plot-technical", width: 1.6, dash: "dot" },
  other0: { color: "--plot-other0", width: 1.6 },
  other1: { color: "--plot-other1", width: 1.6 },
  other2: { color: "--plot-other2", width: 1.6 },
  other3: { color: "--plot-other3", width: 1.6 },
};

// Uncertainty as closed polygons, one for each run of known values: a gap stays a gap.
function band(data, series, axis, color) {
  const x = [];
  const y = [];
  let run = [];
  const close = () => {
    if (run.length > 1) {
      if (x.length) { x.push(null); y.push(null); }
      for (const k of run) { x.push(data.x[k]); y.push(series.high[k]); }
      for (const k of [...run].reverse()) { x.push(data.x[k]); y.push(series.low[k]); }
    }
    run = [];
  };
  series.values.forEach((_, k) => {
    if (series.low[k] === null || series.high[k] === null) close();
    else run.push(k);
  });
  close();
  if (!x.length) return [];
  return [{ type: "scatter", x, y, yaxis: axis, mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: translucent(color, 0.18), hoverinfo: "skip", showlegend: false }];
}

function translucent(color, alpha) {
  const hex = color.replace("#", "");
  const [r, g, b] = [0, 2, 4].map((k) => Number.parseInt(hex.slice(k, k + 2), 16));
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

// A value between two gaps has no band either: its interval is a bar.
function bars(series, color) {
  const alone = series.values.map((v, k) => v !== null && (series.values[k - 1] ?? null) === null && (series.values[k + 1] ?? null) === null && series.low[k] !== null && series.high[k] !== null);
  if (!alone.some(Boolean)) return {};
  return { error_y: {
    type: "data", symmetric: false, color, thickness: 1.2, width: 4,
    array: series.values.map((v, k) => (alone[k] ? series.high[k] - v : null)),
    arrayminus: series.values.map((v, k) => (alone[k] ? v - series.low[k] : null)),
  } };
}

// A value between two gaps has no line to show it: such series get markers.
function lonely(values) {
  return values.some((v, k) => v !== null && (values[k - 1] ?? null) === null && (values[k + 1] ?? null) === null);
}

function traces(data) {
  return data.series.flatMap((series) => {
    const role = ROLE[series.role] ?? ROLE.other0;
    const color = token(role.color);
    const axis = series.panel === 0 ? "y" : `y${series.panel + 1}`;
    const unit = data.panels[series.panel].unit.replace(" a day", "");
    const dots = series.shape === "points";
    const line = {
      type: "scatter",
      x: series.x ?? data.x,
      y: series.values,
      yaxis: axis,
      name: series.name,
      mode: dots ? "markers" : data.daily || lonely(series.values) ? "lines+markers" : "lines",
      connectgaps: false,
      line: { color, width: role.width, dash: role.dash ?? "solid", shape: series.shape === "step" ? "hv" : "linear" },
      marker: { color, size: data.daily ? 5 : 4 },
      hovertemplate: `%{y:,.4~g} ${unit}<extra>${series.name}</extra>`,
      ...(series.low ? bars(series, color) : {}),
    };
    return [...(series.low ? band(data, series, axis, color) : []), line];
  });
}

function layout(data, narrow) {
  const text = token("--text");
  const grid = token("--line");
  const total = data.panels.reduce((sum, panel) => sum + panel.weight, 0);
  const gap = data.panels.length > 1 ? 0.07 : 0;
  const made = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: narrow ? 11 : 12, color: text },
    margin: { l: narrow ? 44 : 58, r: 14, t: 12, b: 46 },
    hovermode: data.axis ? "closest" : "x unified",
    hoverlabel: { bgcolor: token("--surface"), bordercolor: grid, font: { color: text } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: narrow ? 11 : 12 } },
    dragmode: narrow ? false : "zoom",
    xaxis: {
      ...(data.axis ? { title: { text: `${data.axis.title}, ${data.axis.unit}`, font: { size: 11 }, standoff: 8 } } : {}),
      type: data.axis ? "linear" : "date",
      anchor: data.panels.length > 1 ? `y${data.panels.length}` : "y",
      gridcolor: grid,
      linecolor: grid,
      tickcolor: grid,
      ...(data.axis ? {} : {
        hoverformat: data.daily ? "%a %d %b %Y" : "%a %d %b %H:%M",
        tickformatstops: [...(data.daily ? [] : [{ dtickrange: [null, 86399999], value: "%H:%M\n%d %b" }]), { dtickrange: [data.daily ? null : 86400000, null], value: "%d %b\n%Y" }],
      }),
      nticks: narrow ? 5 : 12,
      ...(data.daily && data.x.length <= 3 ? { tickmode: "array", tickvals: data.x } : {}),
    },
    shapes: data.marks.map((mark) => ({ type: "line", xref: "x", yref: "paper", x0: mark.x, x1: mark.x, y0: 0, y1: 1, line: { color: token("--plot-mark"), width: 1.5, dash: "dash" } })),
    annotations: data.marks.map((mark) => ({ x: mark.x, y: 1, xref: "x", yref: "paper", text: mark.label, showarrow: false, xanchor: "left", yanchor: "top", font: { color: token("--plot-mark") } })),
  };
  let top = 1;
  data.panels.forEach((panel, k) => {
    const height = (panel.weight / total) * (1 - gap * (data.panels.length - 1));
    made[k === 0 ? "yaxis" : `yaxis${k + 1}`] = {
      domain: [Math.max(top - height, 0), top],
      title: { text: [panel.title, panel.unit].filter(Boolean).join(", "), font: { size: 11 }, standoff: 6 },
      gridcolor: grid,
      zerolinecolor: token("--muted"),
      zerolinewidth: 1,
      rangemode: panel.unit === "V" ? "normal" : "tozero",
      automargin: true,
      fixedrange: true,
    };
    if (narrow) made[k === 0 ? "yaxis" : `yaxis${k + 1}`].title.text = panel.unit || panel.title;
    top -= height + gap;
  });
  return made;
}

function draw(figure) {
  const canvas = figure.querySelector(".plot-canvas");
  const data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
  canvas.querySelector(".plot-wait")?.remove();
  const narrow = canvas.clientWidth < 560;
  return Plotly.react(canvas, traces(data), layout(data, narrow), {
    responsive: true,
    displaylogo: false,
    displayModeBar: narrow ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    scrollZoom: false,
  });
}

function draw_all() {
  for (const figure of document.querySelectorAll("[data-plot]")) draw(figure);
}

if (globalThis.Plotly) {
  draw_all();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw_all);
} else {
  document.querySelectorAll(".plot-wait").forEach((wait) => { wait.textContent = "The plot library could not be loaded; the numbers are in the table."; });
}
document.documentElement.dataset.plots = "ready";
