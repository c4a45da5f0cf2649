export default {
  async fetch(request, env) {
    const inputs = { prompt: "where is new york?", temperature: 0 };
    return Response.json(await env.AI.run("@cf/meta/llama-2-7b-chat-int8", inputs));
  },
};
