// What a test tells a script, `node SCRIPT ADDRESS TOKEN WHAT`, and how the script answers: a JSON value per line.

export const [address, token, what] = process.argv.slice(2);
export const model = "@cf/meta/llama-2-7b-chat-int8";
export const prompt = "where is new york?";
export const messages = [{ role: "user", content: prompt }];

export const tell = (value) => process.stdout.write(JSON.stringify(value) + "\n");

// The pieces of an event stream, from whatever gives its bytes.
export async function* pieces(body) {
  let text = "";
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data).response;
    }
  }
}
