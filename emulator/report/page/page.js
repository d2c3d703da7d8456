"use strict";
// The charts' options come with the page. What JSON cannot say is added here:
// colours, which follow the style sheet by day and by night, and how figures are
// written.
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const print = matchMedia("print");
  let drawn = [];

  const number = (v, digits) => v.toLocaleString("en-US", { maximumFractionDigits: digits });
  const three = (v) => number(v, v >= 100 ? 0 : v >= 10 ? 1 : 2);
  const write = {
    ms: (v) => v === 0 ? "0" : v < 1 ? three(v * 1000) + " µs" : v < 1000 ? three(v) + " ms" : v < 120000 ? three(v / 1000) + " s" : three(v / 60000) + " min",
    rate: (v) => v === 0 ? "0" : number(v, v < 10 ? 1 : 0) + "/s",
    count: (v) => number(v, 0),
    cores: (v) => number(v, v < 0.1 ? 3 : 2),
    memory: (v) => v === 0 ? "0" : v >= 1024 ? three(v / 1024) + " GiB" : number(v, v < 10 ? 1 : 0) + " MiB",
    clock: (s) => {
      const h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60, rest = String(Math.floor(s % 60)).padStart(2, "0");
      return h ? h + ":" + String(m).padStart(2, "0") + ":" + rest : m + ":" + rest;
    },
    name: (v) => v,
  };
  const writeValue = (unit) => (v) => {
    const x = Array.isArray(v) ? v[v.length - 1] : v;
    return x === null || x === undefined || x === "-" ? "–" : write[unit](x);
  };

  // Colours are written as the names of the style sheet's.
  const colours = (value, style, key) => {
    if (typeof value === "string") return /color$/i.test(key) && value.startsWith("--") ? style.getPropertyValue(value).trim() : value;
    if (Array.isArray(value)) return value.map((v) => colours(v, style, key));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, colours(v, style, k)]));
  };

  // A clock is divided as clocks are.
  const interval = (end, most) => [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200].find((s) => end / s <= most);

  // A logarithmic axis is divided by 1, 2 and 5 while there is room, else by ten.
  const divided = (low, high) => {
    const all = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      for (const step of high / low <= 120 ? [1, 2, 5] : [1]) all.push(Number((step * 10 ** power).toPrecision(3)));
    return all.filter((v) => v >= low * 0.999 && v <= high * 1.001);
  };

  // A linear axis ends at a figure that parts well into so many.
  const parts = { 1: 5, 1.2: 4, 1.6: 4, 2: 4, 3: 3, 4: 4, 5: 5, 6: 3, 8: 4 };
  const part = (max) => max / (parts[Number((max / 10 ** Math.floor(Math.log10(max * 1.0001))).toPrecision(2))] || 5);

  const axis = (given, unit, style, small) => {
    const colour = (name) => style.getPropertyValue(name).trim();
    const customValues = given.type === "log" ? divided(given.min, given.max) : undefined;
    return {
      ...given,
      interval: given.type === "value" && given.max ? part(given.max) : undefined,
      axisLabel: { color: colour("--pale"), fontSize: small ? 11 : 12, hideOverlap: true, ...given.axisLabel, formatter: write[unit], customValues },
      axisLine: { show: false, lineStyle: { color: colour("--edge") }, ...given.axisLine },
      axisTick: { show: false, customValues },
      splitLine: { lineStyle: { color: colour("--line") }, ...given.splitLine, customValues },
    };
  };

  const draw = ({ id, x, y, option }) => {
    const box = document.getElementById(id);
    const style = getComputedStyle(document.documentElement);
    const small = box.clientWidth < 480;
    box.style.height = box.dataset.height ? box.dataset.height + "px" : "";
    const o = colours(option, style);
    const colour = (name) => style.getPropertyValue(name).trim();
    o.animation = false;
    o.aria = { enabled: false }; // the box says what it shows
    o.textStyle = { fontFamily: getComputedStyle(document.body).fontFamily, color: colour("--ink") };
    o.xAxis = o.xAxis.map((a) => axis(a, x, style, small));
    o.yAxis = o.yAxis.map((a) => axis(a, y, style, small));
    const item = o.tooltip.trigger === "item";
    o.tooltip = {
      ...o.tooltip, confine: true, backgroundColor: colour("--card"), borderColor: colour("--edge"), padding: [8, 12],
      textStyle: { color: colour("--ink"), fontSize: 13 }, valueFormatter: writeValue(item ? x : y),
      axisPointer: { lineStyle: { color: colour("--faint") }, label: { show: false } },
      extraCssText: "box-shadow: 0 6px 24px rgb(0 0 0 / 12%)",
    };
    if (x === "clock") {
      for (const a of o.xAxis) {
        a.axisPointer = { label: { formatter: (p) => write.clock(p.value) } };
        a.interval = interval(a.max, small ? 4 : 8);
        a.axisLabel.showMaxLabel = false; // which is at no such interval
      }
    }
    o.legend = { ...o.legend, textStyle: { color: colour("--pale"), fontSize: small ? 11 : 12 }, pageIconColor: colour("--pale"), pageTextStyle: { color: colour("--pale") } };
    for (const s of o.series) {
      s.emphasis = { disabled: true };
      if (s.markArea) s.markArea.silent = true;
      s.z = s.type === "scatter" ? 3 : 2;
      if (s.label && s.label.show) s.label.color = s.label.color || colour("--pale");
    }
    if (o.legend.show) { // as many rows as its names need
      const need = o.series.reduce((sum, s) => sum + (s.name ? (o.legend.itemWidth || 25) + 16 + 6.6 * s.name.length : 0), 0);
      const rows = Math.min(6, Math.ceil(need / box.clientWidth));
      o.legend.type = need / box.clientWidth > 6 ? "scroll" : "plain";
      o.grid.forEach((g) => { g.top = Number(g.top) + 20 * (rows - 1); });
      box.style.height = box.clientHeight + 20 * (rows - 1) + "px";
    }
    if (small && y === "name") { // long names leave no room beside them
      for (const a of o.yAxis.filter((a) => a.data.some((name) => name.length > 14)))
        Object.assign(a.axisLabel, { width: 92, overflow: "break", lineHeight: 13, hideOverlap: false, interval: 0 });
      o.xAxis.forEach((a) => { a.splitNumber = 3; });
      o.grid.forEach((g) => { g.right = Math.min(g.right, 96); });
    }
    const room = (box.clientWidth - 90) / (o.xAxis[0].max || 1);
    for (const s of o.series)
      for (const [from, till] of s.markArea ? s.markArea.data : [])
        if ((till.xAxis - from.xAxis) * room < 6.5 * from.name.length) from.label = { show: false };
    const chart = echarts.init(box, null, { renderer: "svg" });
    chart.setOption(o);
    return chart;
  };

  const drawAll = () => {
    drawn.forEach((c) => c.dispose());
    drawn = charts.map(draw);
    document.documentElement.dataset.charts = String(drawn.length);
  };

  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return; // a telephone's bars come and go
    width = innerWidth;
    drawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  print.addEventListener("change", drawAll);
  drawAll();
})();
