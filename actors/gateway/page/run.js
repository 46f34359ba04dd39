// One text as it came: what was said, by whom, and when. No document, no network.

export class Run {
  tokens = []; // {id, text, speaker, at}, in seconds since the request
  finish = null; // why it ended, as the gateway says it
  usage = null;
  seed = null;

  constructor(now = () => performance.now() / 1000) {
    this._now = now;
    this._began = now();
  }

  /** Takes what has come; gives the new tokens. */
  push(said) {
    const at = this._now() - this._began;
    const fresh = said.map((token) => ({ ...token, at }));
    this.tokens.push(...fresh);
    return fresh;
  }

  get text() {
    return this.tokens.map((token) => token.text).join("");
  }

  /** Whether the text came to its own end. */
  get whole() {
    return this.finish === "stop" || this.finish === "length";
  }

  get firstToken() {
    return this.tokens[0]?.at ?? null;
  }

  get lastToken() {
    return this.tokens.at(-1)?.at ?? null;
  }

  /** Tokens a second once the first had come; null where nothing came later. */
  get speed() {
    const later = this.tokens.filter((token) => token.at > this.firstToken).length;
    return later ? later / (this.lastToken - this.firstToken) : null;
  }

  /** Of the tokens, how much the large model spoke; null before any. */
  get largeShare() {
    const large = this.tokens.filter((token) => token.speaker === "large").length;
    return this.tokens.length ? large / this.tokens.length : null;
  }

  /** Of the drafter's guesses, how much is in the text; known at the end, null where nothing was guessed. */
  get guessesUsed() {
    if (!this.usage?.drafted_tokens) return null;
    return this.usage.small_tokens / this.usage.drafted_tokens;
  }

  /** How many tokens of the small model came before each of the large one's, and how many of these it accepted. */
  get strides() {
    const strides = [{ small: 0, accepted: 0 }];
    for (const { speaker } of this.tokens) {
      if (speaker === "large") {
        strides.push({ small: 0, accepted: 0 });
      } else {
        strides.at(-1).small += 1;
        strides.at(-1).accepted += speaker === "small_accepted";
      }
    }
    if (strides.at(-1).small === 0) strides.pop();
    return strides;
  }
}

/** How many tokens two texts share from their beginning on. */
export function shared(one, other) {
  const most = Math.min(one.tokens.length, other.tokens.length);
  for (let at = 0; at < most; at++) {
    const [a, b] = [one.tokens[at], other.tokens[at]];
    if (a.id !== b.id || a.text !== b.text) return at;
  }
  return most;
}

/** What to say of a text beside the large model's; null while that cannot be told. */
export function compared(run, mode, large) {
  const same = shared(run, large);
  const lengths = [run.tokens.length, large.tokens.length];
  if (same < Math.min(...lengths) || (run.whole && large.whole && same < Math.max(...lengths))) {
    const promised = mode === "speculative" || mode === "large";
    const words = `Differs from large’s text at token ${same + 1}` + (promised ? ", and must not." : ".");
    return { same, differs: true, wrong: promised, words };
  }
  if (run.whole && large.whole) {
    return { same, differs: false, wrong: false, words: `The same text as large’s: all ${same} tokens.` };
  }
  return null;
}
