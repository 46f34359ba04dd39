// What the page says to its gateway, and how it reads the answers: the OpenAI API with `ringroad` beside its
// fields. Paths are relative: a proxy may keep the gateway below a prefix.

/** What went wrong, in words for whoever looks at the page. */
export class Failure extends Error {
  constructor(words, needsKey = false) {
    super(words);
    this.needsKey = needsKey;
  }
}

/** The first model of the gateway, with its `ringroad` facts. */
export async function served(key) {
  const response = await ask("v1/models", { headers: headers(key) });
  return (await response.json()).data[0];
}

/** The chunks of one text; it is generated while it is read, and no longer. Throws Failure, or AbortError. */
export async function* generated(path, body, key, signal) {
  const response = await ask(path, {
    method: "POST",
    headers: { ...headers(key), "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Failure(`The text broke off: ${chunk.error.message}`);
    yield chunk;
  }
  throw new Failure("The connection broke before the text had ended.");
}

const headers = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The gateway cannot be reached.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const said = await response.json().catch(() => null);
  const words = said?.error?.message ?? (response.statusText || "no reason was given");
  const wait = response.headers.get("Retry-After");
  const again = wait ? ` It may be tried again in ${wait} s.` : "";
  switch (response.status) {
    case 401: return new Failure(`The gateway wants an API key: ${words}.`, true);
    case 403: return new Failure(`This API key does not allow it: ${words}.`, true);
    case 429: return new Failure(`The gateway has no room: ${words}.${again}`);
    case 503: return new Failure(`The gateway cannot serve now: ${words}.${again}`);
    default: return new Failure(`The gateway refused: ${words}.`);
  }
}

/** The data of server-sent events. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        if (error.name === "AbortError") throw error;
        throw new Failure("The connection broke before the text had ended.");
      });
      if (done) return;
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) {
        const lines = block.split(/\r?\n/).filter((line) => line.startsWith("data:"));
        if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // who stops reading stops the text
  }
}
