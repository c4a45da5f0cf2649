// Reads one stream as its argument says and writes the text of it: a client for `cfai fuzz --run`.
import { createParser } from "eventsource-parser";
import OpenAI from "openai";

const readers = {
  async eventsource() {
    const parser = createParser({
      onEvent({ data }) {
        if (data !== "[DONE]") process.stdout.write(String(JSON.parse(data).response ?? ""));
      },
    });
    const decoder = new TextDecoder();
    const response = await fetch(process.env.CFAI_FUZZ_URL);
    for await (const chunk of response.body) parser.feed(decoder.decode(chunk, { stream: true }));
  },
  async openai() {
    const asked = { model: "@cf/x/y", messages: [{ role: "user", content: "hi" }], stream: true };
    for await (const chunk of await new OpenAI().chat.completions.create(asked)) {
      process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
    }
  },
  async pasted() {
    const response = await fetch(process.env.CFAI_FUZZ_URL);
    for await (const chunk of response.body) {
      for (const line of new TextDecoder().decode(chunk).split("\n")) {
        if (line.startsWith("data: {")) process.stdout.write(JSON.parse(line.slice(6)).response);
      }
    }
  },
};

await readers[process.argv[2]]();
