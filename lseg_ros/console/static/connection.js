// The connection to the server: a WebSocket for news, and POSTs for requests.

export class Connection {
  // handlers: {message(type, content), frame(buffer), state(text)}
  constructor(handlers) {
    this.handlers = handlers;
    this.watched = null;
    this.wait = 500;
    this.open();
  }

  open() {
    this.handlers.state("connecting");
    this.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.wait = 500;
      this.handlers.state("connected");
      if (this.watched) this.send(this.watched);
    };
    this.socket.onmessage = ({ data }) => {
      if (typeof data !== "string") {
        this.handlers.frame(data).finally(() => this.send({ type: "ready" }));
        return;
      }
      const { type, content } = JSON.parse(data);
      this.handlers.message(type, content);
    };
    this.socket.onclose = ({ reason }) => {
      this.handlers.state(`disconnected${reason ? `: ${reason}` : ""}; trying again`);
      setTimeout(() => this.open(), this.wait);
      this.wait = Math.min(2 * this.wait, 8000);
    };
  }

  send(content) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(content));
  }

  watch(node, camera, layer, label) {
    const next = { type: "watch", node, camera, layer, label };
    if (JSON.stringify(next) === JSON.stringify(this.watched)) return;
    this.watched = next;
    this.send(next);
  }
}

// Returns the answer, or throws an Error with the server's message.
export async function post(name, content) {
  return answer(fetch(`/api/${name}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
  }));
}

export const get = (path) => answer(fetch(path));

async function answer(request) {
  let response;
  try {
    response = await request;
  } catch {
    throw new Error("The console does not answer. Is lseg_console still running?");
  }
  const text = await response.text();
  if (!response.ok) {
    let sentence = text;
    try {
      sentence = JSON.parse(text).error;
    } catch { /* it is a sentence already */ }
    throw new Error(sentence);
  }
  return JSON.parse(text);
}
