// The two charts. Their last values also stand below them in words, for those who cannot see them.

import { number, words } from "./format.js";

/** Looks that a chart keeps: ten minutes at one look in two seconds. */
const POINTS_MAX = 300;
const HEIGHT = 190;
/** Steps of the axis of time. */
const TICKS_SECONDS = [1, 5, 10, 15, 30, 60, 120, 300];
const COLOURS = ["#3b8fc2", "#d28b26", "#3f9a5a", "#c2475a", "#8a6bbf", "#7d8993"];

/** A chart over time in the element `id`, with one line for each of `series`. */
export class Chart {
  constructor(id, series) {
    this.element = document.getElementById(id);
    // Also what the picture says to those who cannot see it.
    this.words = document.getElementById(`${id}-words`);
    this.element.setAttribute("aria-describedby", this.words.id);
    this.series = series;
    this.data = [[], ...series.map(() => [])];
    this.plot = null;
    new ResizeObserver(() => this.fit()).observe(this.element);
    // Axes are drawn on a canvas, which does not follow the page's colours by itself.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Adds the values of one moment, by series. */
  add(at, values) {
    this.data[0].push(at / 1000);
    this.series.forEach((name, index) => this.data[index + 1].push(values.get(name) ?? 0));
    if (this.data[0].length > POINTS_MAX) this.data.forEach((points) => points.shift());
    const said = this.series.map((name) => `${words(name)} ${number(values.get(name) ?? 0)}`).join(", ");
    this.words.textContent = `Now: ${said}.`;
    // One moment is no line, and its axis has no times.
    if (this.data[0].length < 2) return;
    if (this.plot) this.plot.setData(this.data);
    else this.draw();
  }

  /** Begins anew, as for another tenant. */
  clear() {
    this.data.forEach((points) => { points.length = 0; });
    if (this.plot) this.plot.setData(this.data);
  }

  fit() {
    const width = this.element.clientWidth;
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  draw() {
    if (this.data[0].length < 2) return;
    if (this.plot) this.plot.destroy();
    const style = getComputedStyle(document.documentElement);
    const soft = style.getPropertyValue("--soft").trim();
    const grid = { stroke: style.getPropertyValue("--line").trim(), width: 1 };
    const axis = { stroke: soft, grid, ticks: grid };
    const lines = this.series.map((name, index) => ({
      label: words(name),
      stroke: COLOURS[index % COLOURS.length],
      width: 2,
      points: { show: false },
    }));
    const options = {
      width: Math.max(200, this.element.clientWidth),
      height: HEIGHT,
      legend: { live: false },
      cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
      axes: [{ ...axis, incrs: TICKS_SECONDS, values: (_, ticks) => ticks.map((tick) => new Date(tick * 1000).toLocaleTimeString("en-GB")), space: 80 },
        { ...axis, values: (_, ticks) => ticks.map(number), size: 55 }],
      series: [{}, ...lines],
    };
    this.plot = new uPlot(options, this.data, this.element);
  }
}
