// The explorer: write a query, run it, read the schema. No library, nothing loaded from elsewhere.
"use strict";

const $ = (id) => document.getElementById(id);
const store = {
  get: (key, other) => { try { return localStorage.getItem("comanda." + key) ?? other; } catch { return other; } },
  set: (key, value) => { try { localStorage.setItem("comanda." + key, value); } catch { /* private window */ } },
};

const EXAMPLES = {
  "Establishments": "query Establishments {\n  establishments {\n    nodes {\n      key\n      name\n      timeZone\n      currency\n    }\n  }\n}\n",
  "Newest orders": "query NewestOrders($establishment: ID!) {\n  orders(establishmentId: $establishment, first: 10) {\n    nodes {\n      key\n      number\n      status\n      placedAt\n      total {\n        amount\n        currency\n      }\n      items {\n        name\n        quantity\n      }\n    }\n    pageInfo {\n      hasNextPage\n      endCursor\n    }\n  }\n}\n",
  "Open orders with their timeline": "query OpenOrders($establishment: ID!) {\n  orders(establishmentId: $establishment, filter: { status: [PLACED, ACCEPTED, PREPARING, READY] }) {\n    nodes {\n      number\n      status\n      timeline {\n        status\n        occurredAt\n        actor\n      }\n    }\n  }\n}\n",
  "Daily sales": "query DailySales($establishment: ID!) {\n  dailySales(establishmentId: $establishment, from: \"2026-01-01\", to: \"2026-12-31\") {\n    date\n    orders\n    sales {\n      amount\n      currency\n    }\n    averageTicket {\n      amount\n    }\n    uniqueCustomers\n  }\n}\n",
  "Products": "query Products($establishment: ID!) {\n  products(establishmentId: $establishment) {\n    nodes {\n      key\n      name\n      available\n      price {\n        amount\n        currency\n      }\n    }\n  }\n}\n",
};

const INTROSPECTION = `query Schema { __schema { queryType { name } types {
  kind name description
  fields(includeDeprecated: true) { name description isDeprecated type { ...T } args { name description defaultValue type { ...T } } }
  inputFields { name description defaultValue type { ...T } }
  enumValues(includeDeprecated: true) { name description }
  possibleTypes { name } interfaces { name } } } }
fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }`;

let schema = null;
let position = null;

// ---- Requests

async function send(query, variables, operationName) {
  const headers = { "content-type": "application/json", accept: "application/graphql-response+json, application/json;q=0.9" };
  const token = $("token").value.trim();
  if (token) headers.authorization = "Bearer " + token;
  if (position && $("follow").checked) headers["comanda-position"] = position;
  const started = performance.now();
  const response = await fetch("/graphql", { method: "POST", headers, body: JSON.stringify({ query, variables, operationName }) });
  const text = await response.text();
  const took = performance.now() - started;
  let body;
  try { body = JSON.parse(text); } catch { body = text; }
  return { response, body, text, took };
}

async function run() {
  hideCompletions();
  let variables;
  try {
    variables = $("variables").value.trim() ? JSON.parse($("variables").value) : undefined;
  } catch (error) {
    return say("Variables are not JSON: " + error.message, true);
  }
  $("run").disabled = true;
  say("…");
  try {
    const query = $("query").value;
    const answer = await send(query, variables, $("operation").hidden ? undefined : $("operation").value);
    show(answer);
    remember(query);
    position = answer.response.headers.get("comanda-position") ?? position;
    if (!schema && answer.response.ok) loadSchema();
  } catch (error) {
    say("No answer: " + error.message, true);
  } finally {
    $("run").disabled = false;
  }
}

function show({ response, body, text, took }) {
  const bytes = new TextEncoder().encode(text).length;
  const cost = body?.extensions?.cost;
  const parts = [response.status + " " + response.statusText, took.toFixed(0) + " ms", bytes.toLocaleString("en") + " B"];
  if (cost) parts.push("cost " + cost.requested);
  say(parts.join(" · "), !response.ok || body?.errors);
  paint($("result"), typeof body === "string" ? body : JSON.stringify(body, null, 2), tokensOfJson);
}

function say(text, wrong) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", Boolean(wrong));
}

// ---- Editors: a textarea over its own highlighted text

const GRAPHQL = /(#[^\n]*)|("""[\s\S]*?(?:"""|$)|"(?:\\.|[^"\\\n])*"?)|(\$\w+|@\w+)|(-?\d[\d.eE+-]*)|(\w+)|([\s\S])/g;
const KEYWORDS = new Set(["query", "mutation", "subscription", "fragment", "on", "true", "false", "null"]);
const JSON_TOKENS = /("(?:\\.|[^"\\])*"?)(\s*:)?|(-?\d[\d.eE+-]*)|(true|false|null)|([\s\S])/g;

function* tokensOfGraphql(text) {
  for (const [whole, comment, string, sigil, number, word] of text.matchAll(GRAPHQL)) {
    const kind = comment ? "c" : string ? "s" : sigil ? "w" : number ? "n" : word ? (KEYWORDS.has(word) ? "w" : "k") : "";
    yield [kind, whole];
  }
}

function* tokensOfJson(text) {
  for (const [whole, string, colon, number, word] of text.matchAll(JSON_TOKENS)) {
    if (string && colon) { yield ["k", string]; yield ["", colon]; } else {
      yield [string ? "s" : number ? "n" : word ? "w" : "", whole];
    }
  }
}

// Text nodes only: nothing of an answer is ever read as HTML.
function paint(element, text, tokens) {
  const parts = document.createDocumentFragment();
  let plain = "";
  const flush = () => { if (plain) parts.append(plain); plain = ""; };
  for (const [kind, token] of tokens(text)) {
    if (!kind) { plain += token; continue; }
    flush();
    const span = document.createElement("span");
    span.className = kind;
    span.textContent = token;
    parts.append(span);
  }
  flush();
  element.replaceChildren(parts);
}

function editor(id, tokens, changed) {
  const area = $(id), back = area.parentElement.querySelector("pre");
  const draw = () => { paint(back, area.value + "\n", tokens); scroll(); };
  const scroll = () => { back.scrollTop = area.scrollTop; back.scrollLeft = area.scrollLeft; };
  area.addEventListener("scroll", scroll);
  area.addEventListener("input", () => { store.set(id, area.value); draw(); changed?.(); });
  area.addEventListener("keydown", (event) => {
    if (event.defaultPrevented) return;
    if (event.key === "Tab" && !event.ctrlKey && !event.altKey && !event.shiftKey) {
      event.preventDefault();
      area.setRangeText("  ", area.selectionStart, area.selectionEnd, "end");
      area.dispatchEvent(new Event("input"));
    } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      const before = area.value.slice(0, area.selectionStart);
      const indent = /[^\n]*$/.exec(before)[0].match(/^ */)[0] + (/[{([]\s*$/.test(before) ? "  " : "");
      area.setRangeText("\n" + indent, area.selectionStart, area.selectionEnd, "end");
      area.dispatchEvent(new Event("input"));
    }
  });
  return { set(text) { area.value = text; area.dispatchEvent(new Event("input")); } };
}

function format() {
  let out = "", depth = 0, round = 0;
  const line = () => { out = out.replace(/[ \t]+$/, "") + "\n" + "  ".repeat(depth); };
  for (const [kind, token] of tokensOfGraphql($("query").value)) {
    if (!kind && /\s|,/.test(token)) { if (out && !/[\s(]$/.test(out)) out += " "; continue; }
    if (token === "(" || token === "[") { round += 1; out = out.trimEnd() + token; continue; }
    if (token === ")" || token === "]") { round -= 1; out = out.trimEnd() + token; continue; }
    if (token === ":") { out = out.trimEnd() + ": "; continue; }
    if (token === "{") {
      if (round) { out += "{ "; continue; }
      out = out.trimEnd() + (out.trim() ? " {" : "{"); depth += 1; line(); continue;
    }
    if (token === "}") {
      if (round) { out = out.trimEnd() + " }"; continue; }
      depth = Math.max(0, depth - 1); out = out.trimEnd(); line(); out += "}"; line();
      if (!depth) out += "\n";
      continue;
    }
    if (kind === "c") { out += token; line(); continue; }
    // A name after a finished field starts a new line; one that follows a name, an alias's colon
    // or an ellipsis does not.
    const last = out.trimEnd().at(-1);
    if (!round && depth && kind === "k" && / $/.test(out) && !/[:{.@]/.test(last) && !/\b(on|query|fragment)$/.test(out.trimEnd()) && !/\.\.\.$/.test(out.trimEnd())) {
      out = out.trimEnd(); line();
    }
    if (token === "." && !/\.$/.test(out) && depth && / $/.test(out)) { out = out.trimEnd(); line(); }
    if (round && / $/.test(out) && kind && /[\w"\])}]/.test(last)) out = out.trimEnd() + ", ";
    out += token;
  }
  queryEditor.set(out.replace(/[ \t]+\n/g, "\n").replace(/\n{3,}/g, "\n\n").trim() + "\n");
}

function operations() {
  const names = [...$("query").value.matchAll(/^\s*(?:query|mutation|subscription)\s+(\w+)/gm)].map((match) => match[1]);
  const select = $("operation"), chosen = select.value;
  select.hidden = names.length < 2;
  select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
}

// ---- Completion: the type under the cursor, found by walking the braces before it

function placeOf(text) {
  const path = [];
  let name = null, argument = 0, expectType = false, type = null;
  for (const [kind, token] of tokensOfGraphql(text)) {
    if (kind === "c" || kind === "s" || (!kind && /[\s,]/.test(token))) continue;
    if (token === "(" || token === "[") argument += 1;
    else if (token === ")" || token === "]") argument -= 1;
    else if (argument) continue;
    else if (token === "{") { path.push({ name, type }); name = type = null; }
    else if (token === "}") { path.pop(); name = type = null; }
    else if (token === "on") expectType = true;
    else if (kind === "k") { if (expectType) type = token; else name = token; expectType = false; }
  }
  if (argument || !path.length) return null;
  let current = null;
  for (const [index, step] of path.entries()) {
    if (step.type) current = schema.byName.get(step.type);
    else if (index === 0) current = schema.query;
    else current = schema.byName.get(base(current?.fields?.find((field) => field.name === step.name)?.type)?.name);
    if (!current) return null;
  }
  return current;
}

let choices = [], chosen = 0;

function completions() {
  if (!schema) return;
  const area = $("query"), before = area.value.slice(0, area.selectionStart);
  const word = /\w*$/.exec(before)[0];
  const type = placeOf(before.slice(0, before.length - word.length));
  const names = type?.fields ?? [];
  choices = names.filter((field) => field.name.toLowerCase().startsWith(word.toLowerCase()) && field.name !== word);
  if (!choices.length || (!word && !/[\s{]$/.test(before))) return hideCompletions();
  chosen = 0;
  const list = $("complete");
  list.replaceChildren(...choices.map((field, index) => {
    const item = document.createElement("li"), kind = document.createElement("span");
    item.setAttribute("role", "option");
    item.textContent = field.name;
    kind.textContent = typeText(field.type);
    item.append(kind);
    item.addEventListener("mousedown", (event) => { event.preventDefault(); choose(index); });
    return item;
  }));
  const lines = before.split("\n");
  list.hidden = false;
  list.style.left = Math.min(14 + lines.at(-1).length * 7.8 - area.scrollLeft, area.clientWidth - 240) + "px";
  list.style.top = Math.min(12 + lines.length * 19.5 - area.scrollTop, area.clientHeight - 40) + "px";
  mark();
}

function mark() {
  [...$("complete").children].forEach((item, index) => {
    item.setAttribute("aria-selected", String(index === chosen));
    if (index === chosen) item.scrollIntoView({ block: "nearest" });
  });
}

function hideCompletions() { $("complete").hidden = true; choices = []; }

function choose(index) {
  const area = $("query"), field = choices[index];
  const start = area.selectionStart - /\w*$/.exec(area.value.slice(0, area.selectionStart))[0].length;
  area.setRangeText(field.name, start, area.selectionStart, "end");
  hideCompletions();
  area.dispatchEvent(new Event("input"));
  hideCompletions();
}

function completionKeys(event) {
  if ($("complete").hidden) return;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) { chosen = (chosen + step + choices.length) % choices.length; mark(); }
  else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) return;
  else if (event.key === "Enter" || event.key === "Tab") choose(chosen);
  else if (event.key === "Escape") hideCompletions();
  else return;
  event.preventDefault();
}

// ---- Schema

const base = (type) => { while (type?.ofType) type = type.ofType; return type; };
const typeText = (type) => type.kind === "NON_NULL" ? typeText(type.ofType) + "!" : type.kind === "LIST" ? "[" + typeText(type.ofType) + "]" : type.name;

async function loadSchema() {
  const { response, body } = await send(INTROSPECTION);
  const loaded = body?.data?.__schema;
  if (!response.ok || !loaded) return docMessage(response.status === 401 ? "Enter a token to read the schema." : "The schema could not be read.");
  const byName = new Map(loaded.types.map((type) => [type.name, type]));
  schema = { types: loaded.types, byName, query: byName.get(loaded.queryType.name) };
  visit(schema.query.name, true);
}

const trail = [];

function docMessage(text) {
  const note = document.createElement("p");
  note.textContent = text;
  $("doc").replaceChildren(note);
}

function visit(name, fresh) {
  if (fresh) trail.length = 0;
  trail.push(name);
  $("back").disabled = trail.length < 2;
  draw(name);
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function typeLink(type) {
  const whole = typeText(type), name = base(type).name, at = whole.indexOf(name);
  const link = element("a", name);
  link.href = "#" + name;
  link.addEventListener("click", (event) => { event.preventDefault(); $("search").value = ""; visit(name); });
  const span = document.createElement("span");
  span.append(whole.slice(0, at), link, whole.slice(at + name.length));
  return span;
}

function draw(name) {
  const type = schema.byName.get(name), list = element("dl");
  for (const field of type.fields ?? type.inputFields ?? []) list.append(...entry(field, type));
  for (const value of type.enumValues ?? []) list.append(element("dt", value.name), element("dd", value.description));
  const parts = [element("h3", type.name), element("p", type.description)];
  if (type.possibleTypes?.length) {
    const also = element("p", "One of: ");
    type.possibleTypes.forEach((possible, index) => also.append(index ? ", " : "", typeLink({ ...possible, kind: "OBJECT" })));
    parts.push(also);
  }
  $("doc").replaceChildren(...parts, list);
  $("doc").scrollTop = 0;
}

function entry(field, type) {
  const title = element("dt", field.name);
  title.append(": ", typeLink(field.type));
  if (type === schema.query) {
    const add = element("button", "+", "add");
    add.title = "Write a query for " + field.name;
    add.addEventListener("click", () => { queryEditor.set(skeleton(field)); hideCompletions(); offerVariables(field); });
    title.prepend(add);
  }
  const parts = [title, element("dd", field.description)];
  for (const argument of field.args ?? []) {
    const line = element("dd", argument.name, "argument");
    line.append(": ", typeLink(argument.type), argument.description ? " – " + argument.description : "");
    parts.push(line);
  }
  return parts;
}

// Variables that the query needs and the box does not have yet.
function offerVariables(field) {
  let variables;
  try { variables = JSON.parse($("variables").value || "{}"); } catch { return; }
  const today = new Date().toISOString().slice(0, 10);
  const known = { establishmentId: variables.establishment ?? "main", from: today.slice(0, 8) + "01" };
  for (const argument of field.args.filter((argument) => argument.type.kind === "NON_NULL")) {
    const type = base(argument.type).name;
    variables[argument.name] ??= known[argument.name] ?? { Date: today, Int: 1 }[type] ?? "";
  }
  variablesEditor.set(JSON.stringify(variables, null, 2) + "\n");
}

// A query for one root field: required arguments as variables, plain fields selected.
function skeleton(field) {
  const needed = field.args.filter((argument) => argument.type.kind === "NON_NULL");
  const head = needed.map((argument) => `$${argument.name}: ${typeText(argument.type)}`).join(", ");
  const call = needed.map((argument) => `${argument.name}: $${argument.name}`).join(", ");
  const select = (type, indent, depth) => {
    const found = schema.byName.get(base(type).name);
    if (!found?.fields) return found?.possibleTypes ? " {\n" + indent + "  __typename\n" + indent + "}" : "";
    const deeper = depth > 0;
    const fields = found.fields.filter((inner) => inner.name !== "totalCount").filter((inner) => !schema.byName.get(base(inner.type).name).fields || (deeper && ["nodes", "pageInfo", "total", "sales"].includes(inner.name)));
    return " {\n" + fields.map((inner) => indent + "  " + inner.name + select(inner.type, indent + "  ", depth - 1)).join("\n") + "\n" + indent + "}";
  };
  return `query${head ? " Q(" + head + ")" : ""} {\n  ${field.name}${call ? "(" + call + ")" : ""}${select(field.type, "  ", 2)}\n}\n`;
}

function search() {
  if (!schema) return;
  const wanted = $("search").value.trim().toLowerCase();
  if (!wanted) return draw(trail.at(-1));
  const list = element("dl");
  let found = 0;
  for (const type of schema.types.filter((type) => !type.name.startsWith("__"))) {
    const fields = (type.fields ?? type.inputFields ?? type.enumValues ?? []).filter((field) => field.name.toLowerCase().includes(wanted));
    if (!fields.length && !type.name.toLowerCase().includes(wanted)) continue;
    const title = element("dt");
    title.append(typeLink({ kind: type.kind, name: type.name }));
    list.append(title, ...fields.slice(0, 20).map((field) => element("dd", field.name + (field.description ? " – " + field.description : ""))));
    found += 1;
  }
  $("doc").replaceChildren(found ? list : element("p", "Nothing found."));
}

// ---- History and start

function remember(query) {
  const past = [query, ...history().filter((old) => old !== query)].slice(0, 20);
  store.set("history", JSON.stringify(past));
  listHistory();
}

function history() {
  try { return JSON.parse(store.get("history", "[]")); } catch { return []; }
}

function listHistory() {
  const options = history().map((query, index) => new Option(query.replace(/\s+/g, " ").slice(0, 60), String(index)));
  $("history").replaceChildren(new Option("History…", ""), ...options);
}

const queryEditor = editor("query", tokensOfGraphql, () => { operations(); completions(); });
const variablesEditor = editor("variables", tokensOfJson, () => {
  const text = $("variables").value.trim();
  let fault = "";
  try { if (text) JSON.parse(text); } catch (error) { fault = error.message; }
  $("variables-state").textContent = fault;
  $("variables-state").classList.toggle("wrong", Boolean(fault));
});

$("query").addEventListener("keydown", completionKeys, true);
$("query").addEventListener("blur", hideCompletions);
$("query").addEventListener("keydown", (event) => {
  if (event.key === " " && event.ctrlKey) { event.preventDefault(); completions(); }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); }
});
$("run").addEventListener("click", run);
$("format").addEventListener("click", format);
$("copy").addEventListener("click", () => navigator.clipboard?.writeText($("result").textContent));
$("back").addEventListener("click", () => { trail.pop(); $("back").disabled = trail.length < 2; draw(trail.at(-1)); });
$("search").addEventListener("input", search);
$("show").addEventListener("click", () => {
  const shown = $("token").type === "password";
  $("token").type = shown ? "text" : "password";
  $("show").textContent = shown ? "Hide" : "Show";
  $("show").setAttribute("aria-pressed", String(shown));
});
$("token").value = store.get("token", "");
$("token").addEventListener("change", () => { store.set("token", $("token").value.trim()); schema = null; position = null; loadSchema(); });
$("follow").checked = store.get("follow", "1") === "1";
$("follow").addEventListener("change", () => store.set("follow", $("follow").checked ? "1" : "0"));
for (const name of Object.keys(EXAMPLES)) $("example").append(new Option(name, name));
$("example").addEventListener("change", () => { if ($("example").value) queryEditor.set(EXAMPLES[$("example").value]); $("example").value = ""; });
$("history").addEventListener("change", () => { const query = history()[$("history").value]; if (query) queryEditor.set(query); $("history").value = ""; });

const asked = new URLSearchParams(location.search);
queryEditor.set(asked.get("query") ?? store.get("query", EXAMPLES["Establishments"]));
variablesEditor.set(asked.get("variables") ?? store.get("variables", '{\n  "establishment": "main"\n}\n'));
hideCompletions();
listHistory();
if ($("token").value) loadSchema(); else docMessage("Enter a token to read the schema. `comanda token --tenant dev` prints one.");
