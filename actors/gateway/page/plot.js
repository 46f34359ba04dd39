// Small plots as SVG; columns share their scales, so that they can be compared by eye.

const [WIDTH, HEIGHT] = [240, 64];

/** Tokens over seconds, and dashed another column's. `scale` is {seconds, tokens}. */
export function pace(run, other, scale) {
  const curve = (name, tokens) => {
    const points = tokens.map((token, n) => `${x(token.at)},${y(n + 1)}`);
    return shape("polyline", { class: name, points: points.join(" ") });
  };
  const x = (seconds) => round((seconds / scale.seconds) * WIDTH);
  const y = (tokens) => round(HEIGHT - (tokens / scale.tokens) * HEIGHT);
  const curves = other ? [curve("other", other.tokens)] : [];
  const last = run.lastToken ?? 0;
  return plot(
    `${run.tokens.length} tokens in ${last.toFixed(1)} seconds${other ? "; dashed: the large column" : ""}`,
    [...curves, curve("pace", run.tokens)],
    ["0", `${scale.tokens} tokens, ${scale.seconds.toFixed(1)} s`],
  );
}

/** A bar for each token of the large model: how many of the small one's came before it. */
export function strides(run, scale) {
  const bars = run.strides;
  const step = Math.min(8, WIDTH / Math.max(bars.length, 1));
  const wide = round(step * 0.7);
  const high = (tokens) => round((tokens / scale.stride) * (HEIGHT - 2));
  const shapes = bars.flatMap(({ small, accepted }, n) => {
    const [x, kept] = [round(n * step), small - accepted];
    return [
      [accepted, 0, "accepted"],
      [kept, accepted, "kept"],
    ]
      .filter(([tokens]) => tokens)
      .map(([tokens, below, name]) =>
        shape("rect", { class: name, x, y: HEIGHT - high(below + tokens), width: wide, height: high(tokens) }),
      );
  });
  const most = Math.max(0, ...bars.map((bar) => bar.small));
  const mean = bars.length ? bars.reduce((sum, bar) => sum + bar.small, 0) / bars.length : 0;
  const words = `mean ${mean.toFixed(1)}, most ${most}`;
  return plot(words, shapes, [words, "filled: accepted, outlined: kept"]);
}

function plot(words, shapes, extent) {
  const svg = shape("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  svg.setAttribute("aria-label", words);
  svg.append(shape("path", { class: "axis", d: `M0 ${HEIGHT}H${WIDTH}` }), ...shapes);
  const line = document.createElement("div");
  line.className = "extent";
  line.append(
    ...extent.map((part) => Object.assign(document.createElement("span"), { textContent: part })),
  );
  return [svg, line];
}

function shape(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const round = (number) => Math.round(number * 10) / 10;
