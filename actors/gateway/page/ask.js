// The form above the columns, as a request; and a chunk of the answer, as tokens.

const field = (id) => document.getElementById(id);

/** What all columns of one run ask. A seed is drawn where none is given: it is one for all of them. */
export function asked(model) {
  const prompt = field("prompt").value;
  const seed = field("seed").value;
  const body = {
    model,
    stream: true,
    temperature: Number(field("temperature").value),
    seed: seed ? Number(seed) : crypto.getRandomValues(new Uint32Array(1))[0],
  };
  if (field("most").value) body.max_tokens = Number(field("most").value);
  if (field("form").value === "text") return { path: "v1/completions", body: { ...body, prompt } };
  return { path: "v1/chat/completions", body: { ...body, messages: [{ role: "user", content: prompt }] } };
}

/** What a chunk of the stream says. */
export function read({ choices = [], ringroad }) {
  const [choice] = choices;
  const { texts = [], token_ids: ids = [], speakers = [] } = choice?.ringroad ?? {};
  return {
    tokens: ids.map((id, n) => ({ id, text: texts[n], speaker: speakers[n] })),
    finish: choice?.finish_reason,
    usage: ringroad?.usage,
  };
}
