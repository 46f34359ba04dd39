// The page: a form, columns, and what runs in them.

import { Failure, generated, served } from "./api.js";
import { asked, read } from "./ask.js";
import { Column } from "./column.js";

const MOST_COLUMNS = 4;

const field = (id) => document.getElementById(id);
const columns = [];
let offer = null; // what the gateway serves, once it has said it
let running = null; // what stops it
let drawing = false;

/** Asks what is served; the first column comes with the answer. */
async function learn() {
  try {
    const { id, ringroad } = await served(field("key").value);
    offer = { model: id, ...ringroad };
    field("most").value ||= offer.default_max_tokens;
    greet(`${id}: ${[offer.large, offer.small].filter(Boolean).join(" with ")}`);
    if (!columns.length) add();
  } catch (error) {
    tell(error, greet);
  }
}

function greet(words, wrong = false) {
  field("offer").textContent = words;
  field("offer").classList.toggle("wrong", wrong);
}

function add() {
  const taken = columns.map((column) => column.mode);
  const order = [offer.default_mode, "large", ...offer.modes];
  const column = new Column(offer, order.find((mode) => !taken.includes(mode)) ?? offer.default_mode);
  column.find(".remove").addEventListener("click", () => remove(column));
  columns.push(column);
  field("columns").append(column.element);
  settle();
  return column;
}

function remove(column) {
  columns.splice(columns.indexOf(column), 1);
  column.element.remove();
  settle();
  field("add").focus();
}

/** Enables what can be done now. */
function settle() {
  field("run").disabled = Boolean(running);
  field("stop").disabled = !running;
  field("add").disabled = Boolean(running) || !offer || columns.length >= MOST_COLUMNS;
  for (const column of columns) column.find(".remove").disabled = Boolean(running) || columns.length === 1;
}

async function runAll() {
  if (running) return;
  if (!offer) await learn();
  if (!offer || running) return;
  running = new AbortController();
  const focused = document.activeElement === field("run");
  settle();
  if (focused) field("stop").focus(); // a disabled button would swallow the keys
  try {
    await runColumns(running.signal);
  } finally {
    const stopping = document.activeElement === field("stop");
    running = null;
    settle();
    if (stopping) field("run").focus();
  }
}

async function runColumns(signal) {
  const { path, body } = asked(offer.model);
  const key = field("key").value;
  for (const column of columns) column.wait();
  const one = (column) => runOne(column, path, { ...body, ringroad: column.asked }, key, signal);
  if (field("order").value === "together") await Promise.all(columns.map(one));
  else for (const column of columns) await one(column);
}

async function runOne(column, path, body, key, signal) {
  if (signal.aborted) return column.say("Stopped before it began.");
  column.begin();
  try {
    for await (const chunk of generated(path, body, key, signal)) {
      column.take(read(chunk));
      draw();
    }
    column.finish(body.seed);
  } catch (error) {
    if (error.name === "AbortError") column.say(`Stopped after ${column.run.tokens.length} tokens.`);
    else tell(error, (words) => column.say(words, true));
  }
  draw();
}

/** Shows what went wrong; asks for a key where one is wanted. */
function tell(error, show) {
  if (!(error instanceof Failure)) throw error;
  show(error.message, true);
  if (error.needsKey) field("key").focus();
}

/** Draws all columns before the next frame, on one scale. */
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const runs = columns.map((column) => column.run).filter(Boolean);
    const most = (values) => Math.max(1, ...values);
    const scale = {
      seconds: Math.max(0.1, ...runs.map((run) => run.lastToken ?? 0)),
      tokens: most(runs.map((run) => run.tokens.length)),
      stride: most(runs.flatMap((run) => run.strides.map((stride) => stride.small))),
    };
    const large = columns.find((column) => column.run && column.asked.mode === "large");
    for (const column of columns) column.draw(large, scale);
  });
}

field("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  runAll();
});
field("stop").addEventListener("click", () => running?.abort());
field("add").addEventListener("click", () => add().find(".mode").focus());
field("key").addEventListener("change", learn);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    field("ask").requestSubmit();
  } else if (event.key === "Escape" && running) {
    event.preventDefault();
    running.abort();
  }
});

settle();
field("prompt").focus();
learn();
