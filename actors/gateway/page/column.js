// One column: who may speak here, the text as it comes, and what it amounts to.

import { pace, strides } from "./plot.js";
import { Run, compared } from "./run.js";

const MODES = {
  speculative: "The small model guesses, the large one checks: large’s text, sooner.",
  large: "The large model speaks every token.",
  routed: "The small model speaks until it is doubtful; that the large one speaks.",
  small: "The small model speaks every token.",
};
const SPEAKERS = {
  small_kept: "small model, kept",
  small_accepted: "small model, accepted by the large one",
  large: "large model",
};
let made = 0;

export class Column {
  run = null; // of the last request
  asked = null; // in that request, beyond the prompt

  /** offer: what the gateway serves, as /v1/models says under `ringroad`. */
  constructor(offer, mode) {
    this.element = document.getElementById("column").content.cloneNode(true).firstElementChild;
    this.find("h2").textContent = `Column ${++made}`;
    this.find("h2").id = `column-${made}`;
    this.element.setAttribute("aria-labelledby", `column-${made}`);
    this.find(".text").setAttribute("aria-label", `Text of column ${made}`);
    this.find(".remove").setAttribute("aria-label", `Remove column ${made}`);
    this.find(".meaning").id = `meaning-${made}`;
    this.find(".mode").setAttribute("aria-describedby", `meaning-${made}`);
    for (const label of this.element.querySelectorAll("label")) {
      const control = label.parentElement.querySelector("select, input");
      control.id = label.htmlFor = `${control.className}-${made}`;
      control.addEventListener("input", () => this._choose());
    }
    this._policies = offer.policies; // their own thresholds, by name
    fill(this.find(".mode"), offer.modes);
    fill(this.find(".policy"), Object.keys(offer.policies));
    this.find(".mode").value = mode;
    this.find(".policy").value = offer.default_policy;
    this._choose();
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  get mode() {
    return this.find(".mode").value;
  }

  /** What to ask beyond the prompt. */
  get request() {
    const asked = { mode: this.mode };
    if (this.mode !== "routed") return asked;
    asked.routing = { policy: this.find(".policy").value };
    const kind = this.find(".kind").value;
    if (kind) asked.routing[kind] = Number(this.find(".value").value);
    return asked;
  }

  _choose() {
    this.find(".meaning").textContent = MODES[this.mode] ?? "";
    for (const field of this.element.querySelectorAll(".routed")) field.hidden = this.mode !== "routed";
    const [kind, value] = [this.find(".kind"), this.find(".value")];
    const cascade = this.find(".policy").value === "cascade"; // it decides once: a share cannot be held
    kind.options[0].disabled = cascade;
    if (cascade && kind.value === "large_share") kind.value = "threshold";
    value.max = kind.value === "threshold" ? "1.05" : "1"; // above 1 nothing is doubtful
    if (!kind.value) value.value = this._policies[this.find(".policy").value];
    value.disabled = !kind.value;
    const share = kind.value === "large_share";
    const shown = share ? percent(Number(value.value)) : Number(value.value).toFixed(2);
    this.find(".shown").textContent = shown;
    value.setAttribute("aria-valuetext", shown);
  }

  /** Puts the column in line: it asks what is chosen now. */
  wait() {
    this.asked = this.request;
    this.run = null;
    this.find(".text").replaceChildren();
    this.find(".same").hidden = true;
    this.say("Waits for the column before it…");
  }

  /** Its request goes out. */
  begin() {
    this.run = new Run();
    this.say("Waits for the first token…");
  }

  /** Takes what a chunk says: tokens, how the text ended, what it took. */
  take({ tokens, finish, usage }) {
    if (tokens.length && !this.run.tokens.length) this.say("Tokens arrive…");
    this.run.finish = finish ?? this.run.finish;
    this.run.usage = usage ?? this.run.usage;
    const text = this.find(".text");
    const follows = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
    text.append(...this.run.push(tokens).map(spoken));
    if (follows) text.scrollTop = text.scrollHeight;
  }

  /** Says how a whole text ended. */
  finish(seed) {
    const why = this.run.finish === "length" ? "no more were asked for" : "the model ended there";
    this.say(`${this.run.tokens.length} tokens, seed ${seed}: ${why}.`);
  }

  say(words, wrong = false) {
    this.find(".status").textContent = words;
    this.find(".status").classList.toggle("wrong", wrong);
  }

  /** Draws figures and plots anew. large: the column to compare with, or none. */
  draw(large, scale) {
    if (!this.run) return;
    const { firstToken, speed, largeShare, guessesUsed } = this.run;
    this.find(".first").textContent = firstToken === null ? "–" : `${firstToken.toFixed(2)} s`;
    this.find(".speed").textContent = speed === null ? "–" : speed.toFixed(1);
    this.find(".share").textContent = percent(largeShare);
    this.find(".used").textContent = percent(guessesUsed);
    const other = large && large !== this ? large.run : null;
    replace(this.find(".pace"), pace(this.run, other, scale));
    replace(this.find(".strides"), strides(this.run, scale));
    if (other) this._compare(other);
  }

  _compare(large) {
    const found = compared(this.run, this.asked.mode, large);
    const line = this.find(".same");
    line.hidden = !found;
    for (const token of this.element.querySelectorAll(".differs")) token.classList.remove("differs");
    if (!found) return;
    line.textContent = found.words;
    line.classList.toggle("whole", !found.differs);
    line.classList.toggle("wrong", found.wrong);
    if (found.differs) this.find(".text").children[found.same]?.classList.add("differs");
  }
}

function spoken({ text, speaker }) {
  const token = document.createElement("span");
  token.className = "token";
  token.dataset.speaker = speaker;
  token.title = SPEAKERS[speaker] ?? speaker;
  token.textContent = text; // never markup, whatever a model says
  return token;
}

function fill(select, values) {
  select.replaceChildren(...values.map((value) => new Option(value, value)));
}

function replace(figure, parts) {
  figure.replaceChildren(figure.querySelector("figcaption"), ...parts);
}

const percent = (share) => (share === null ? "–" : `${Math.round(share * 100)} %`);
