// Speaks to an edge through the vendor's own client, unmodified. Reads one JSON line of
// {method, request, key} from standard input per call and answers one line: {ok: …}, or
// {error: the class that the client threw, status, message}. A method of `track` needs no
// prefix; a request that is an array has a method's arguments.
import { createInterface } from "node:readline";
import { Dub } from "dub";

const serverURL = process.argv[2];

for await (const line of createInterface({ input: process.stdin })) {
  const { method, request, key } = JSON.parse(line);
  let answer;
  try {
    const dub = new Dub({ token: key, serverURL });
    const [group, name] = method.includes(".") ? method.split(".") : ["track", method];
    const given = Array.isArray(request) ? request : [request];
    answer = { ok: await dub[group][name](...given) };
  } catch (error) {
    const { statusCode: status, message } = error;
    answer = { error: error.constructor.name, status, message };
  }
  console.log(JSON.stringify(answer));
}
