import Cloudflare from "cloudflare";
import { address, model, pieces, prompt, tell, token, what } from "./told.mjs";

const client = new Cloudflare({ apiToken: token, baseURL: `${address}/client/v4` });

if (what === "whole") {
  tell(await client.ai.run(model, { account_id: "acc", prompt, temperature: 0 }));
} else if (what === "stream") {
  const response = await client.ai.run(model, { account_id: "acc", prompt, stream: true }).asResponse();
  for await (const piece of pieces(response.body)) tell(piece);
} else if (what === "models") {
  let count = 0;
  for await (const _ of client.ai.models.list({ account_id: "acc" })) count++;
  tell(count);
} else {
  try {
    await client.ai.run("@cf/no/such", { account_id: "acc", prompt });
  } catch (error) {
    tell({ status: error.status, code: error.errors[0].code, message: error.errors[0].message });
  }
}
