// The explorer page: personas and examples above, GraphiQL below. No build step, no module of its own.
"use strict";

(() => {
  const { createElement: h, useEffect, useMemo, useRef, useState } = React;
  const TOKEN_KEY = "credit-gateway:token";
  const RESTORED = sessionStorage.getItem("graphiql:tabState") !== null; // The tab was reloaded: keep its work.
  const NO_TOKEN =
    "No token yet. The gateway answers nothing without one, its schema included: " +
    "paste a token above and press Use.";

  // Whose token it is, as its own claims say. For display alone: the gateway verifies, this page does not.
  function claimsOf(token) {
    try {
      const payload = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
      const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
      const claims = JSON.parse(new TextDecoder().decode(bytes));
      return typeof claims === "object" && claims !== null ? claims : {};
    } catch {
      return {}; // An opaque token is a token too.
    }
  }

  function describeToken(token) {
    const claims = claimsOf(token);
    const holder = claims.unit_name || claims.unit || claims.client_id;
    const until = typeof claims.exp === "number" ? new Date(claims.exp * 1000) : null;
    if (until !== null && until < new Date()) return { text: "Token expired", good: false };
    const time = until?.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    return { text: [holder || "Token set", time && `until ${time}`].filter(Boolean).join(", "), good: true };
  }

  async function post(token, body) {
    const response = await fetch("graphql", {
      method: "POST",
      headers: {
        accept: "application/graphql-response+json, application/json;q=0.9",
        authorization: `Bearer ${token}`,
        "content-type": "application/json",
      },
      body: JSON.stringify(body),
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
    });
    const text = await response.text();
    try {
      return JSON.parse(text);
    } catch {
      return { errors: [{ message: `The gateway answered ${response.status} without JSON.` }] };
    }
  }

  // GraphiQL learns the new operation's name a moment after the text has changed; until then it sends the old one.
  function withoutStaleName({ operationName, ...body }) {
    const named = operationName && new RegExp(`(query|mutation)\\s+${operationName}\\b`).test(body.query);
    return named ? { ...body, operationName } : body;
  }

  async function tokenOf(persona) {
    const response = await fetch(`explorer/token?persona=${encodeURIComponent(persona)}`, { cache: "no-store" });
    if (!response.ok) throw new Error(`The gateway gave no token for ${persona} (status ${response.status}).`);
    return (await response.json()).access_token;
  }

  function titleOf(persona) {
    return persona.charAt(0).toUpperCase() + persona.slice(1).replace(/_/g, " ");
  }

  function Token({ token, onPaste, onClear }) {
    const [typed, setTyped] = useState("");
    const state = token ? describeToken(token) : { text: "No token", good: false };
    const use = () => {
      const trimmed = typed.trim().replace(/^Bearer\s+/i, "");
      if (trimmed) onPaste(trimmed);
      setTyped("");
    };
    return h("div", { className: "token" },
      h("span", { className: state.good ? "pill good" : "pill", id: "token-state", role: "status" }, state.text),
      h("input", {
        id: "token",
        type: "password",
        autoComplete: "off",
        spellCheck: false,
        placeholder: "Paste a bearer token",
        "aria-label": "Bearer token",
        value: typed,
        onChange: (event) => setTyped(event.target.value),
        onKeyDown: (event) => event.key === "Enter" && use(),
      }),
      h("button", { id: "use-token", onClick: use, disabled: !typed.trim() }, "Use"),
      h("button", { id: "clear-token", onClick: onClear, disabled: !token }, "Clear"));
  }

  function Examples({ personas, persona, onPersona, examples, chosen, onExample }) {
    return h("nav", { className: "examples" },
      h("div", { className: "personas", role: "tablist", "aria-label": "Persona" },
        personas.map((name) => h("button", {
          key: name,
          role: "tab",
          "aria-selected": name === persona,
          "data-persona": name,
          onClick: () => onPersona(name),
        }, titleOf(name)))),
      h("div", { className: "choices" },
        examples.map((example) => h("button", {
          key: example.name,
          className: "choice",
          "aria-pressed": example === chosen,
          "data-example": example.name,
          onClick: () => onExample(example),
        }, example.name))),
      h("p", { className: "explanation", title: chosen?.explanation }, chosen?.explanation));
  }

  function textOf(value) {
    if (value === null || value === undefined) return "";
    if (Array.isArray(value)) return value.map(textOf).join(", ");
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  }

  function Facts({ facts }) {
    const entries = Object.entries(facts).filter(([, value]) => textOf(value) !== "");
    return h("dl", null, entries.map(([name, value]) =>
      h("div", { key: name }, h("dt", null, name), h("dd", null, textOf(value)))));
  }

  // Denials that differ in nothing but place and category are told once.
  function together(denials) {
    const told = new Map();
    for (const { path, category, ...facts } of denials) {
      const key = JSON.stringify(facts);
      const group = told.get(key) ?? { facts, categories: new Set() };
      if (category) group.categories.add(category);
      told.set(key, group);
    }
    return [...told.values()];
  }

  // What the gateway adds to an answer: the receipt of the inquiry, and why anything was withheld.
  function Extensions({ extensions }) {
    const receipt = extensions?.receipt;
    const denials = Array.isArray(extensions?.denials) ? extensions.denials : [];
    if (!receipt && denials.length === 0) return null;
    return h("section", { className: "extensions", "aria-label": "Receipt and denials" },
      receipt && h("article", { className: "receipt" }, h("h2", null, "Receipt"), h(Facts, { facts: receipt })),
      together(denials).map(({ facts, categories }, position) =>
        h("article", { className: "denial", key: position },
          h("h2", null, categories.size ? `Denied: ${[...categories].join(", ")}` : "Denied"),
          h(Facts, { facts }))));
  }

  function tabOf(example) {
    return { query: example.query, variables: JSON.stringify(example.variables, null, 2) };
  }

  function Explorer({ login, examples }) {
    const personas = useMemo(
      () => [...new Set([...examples.map((example) => example.persona), ...(login?.personas ?? [])])], []);
    const [token, setToken] = useState(sessionStorage.getItem(TOKEN_KEY) ?? "");
    const [persona, setPersona] = useState(login?.first ?? personas[0]);
    const offered = examples.filter((example) => example.persona === persona);
    const [chosen, setChosen] = useState(RESTORED ? undefined : offered[0]);
    const [toLoad, setToLoad] = useState(chosen ? tabOf(chosen) : {});
    const [notice, setNotice] = useState("");
    const [extensions, setExtensions] = useState(null);

    const [waiting, setWaiting] = useState(Boolean(login) && !token);
    const wanted = useRef(null); // The persona whose token is awaited; the last wish wins.

    const enter = (value) => {
      wanted.current = null;
      setWaiting(false);
      setNotice("");
      setToken(value);
    };
    // A token that somebody pasted lives as long as the browser's tab; one that was given is asked for anew.
    const paste = (value) => {
      sessionStorage.setItem(TOKEN_KEY, value);
      enter(value);
    };
    const give = (value) => {
      sessionStorage.removeItem(TOKEN_KEY);
      enter(value);
    };
    const logIn = async (name) => {
      wanted.current = name;
      try {
        const given = await tokenOf(name);
        if (wanted.current === name) give(given);
      } catch (error) {
        if (wanted.current !== name) return;
        setWaiting(false);
        setNotice(error.message);
      }
    };
    const show = (example) => {
      setChosen(example);
      setExtensions(null);
      // GraphiQL loads a value when it changes; forgetting it first lets the same example be loaded again.
      ReactDOM.flushSync(() => setToLoad({}));
      if (example) setToLoad({ ...tabOf(example), response: "" });
    };
    const turnTo = (name) => {
      setPersona(name);
      show(examples.find((example) => example.persona === name));
      if (login?.personas.includes(name)) logIn(name);
    };

    useEffect(() => {
      if (login && !token) logIn(login.first);
    }, []);

    // A new token means a new fetcher, upon which GraphiQL asks for the schema again.
    const fetcher = useMemo(() => async (body) => {
      if (!token) return { errors: [{ message: NO_TOKEN }] };
      const answer = await post(token, withoutStaleName(body));
      if (body.operationName !== "IntrospectionQuery") setExtensions(answer.extensions ?? null);
      return answer;
    }, [token]);

    return h(React.Fragment, null,
      h("header", null,
        h("div", { className: "product" },
          h("h1", null, "Credit gateway"),
          h("p", null, "Ask for a purpose, get what it permits, keep the receipt.")),
        h(Token, { token, onPaste: paste, onClear: () => give("") })),
      h(Examples, { personas, persona, onPersona: turnTo, examples: offered, chosen, onExample: show }),
      (notice || !(token || waiting)) && h("p", { className: "notice", id: "notice", role: "alert" }, notice || NO_TOKEN),
      h("main", null,
        h(GraphiQL, {
          fetcher,
          schema: token ? undefined : null,
          storage: sessionStorage,
          shouldPersistHeaders: false,
          isHeadersEditorEnabled: false,
          defaultEditorToolsVisibility: "variables",
          forcedTheme: "light",
          ...toLoad,
        },
        h(GraphiQL.Logo, null, h("span")),
        h(GraphiQL.Footer, null, h(Extensions, { extensions })))));
  }

  async function start() {
    const root = ReactDOM.createRoot(document.getElementById("explorer"));
    try {
      const response = await fetch(EXAMPLES, { credentials: "omit" });
      if (!response.ok) throw new Error(`status ${response.status}`);
      root.render(h(Explorer, await response.json()));
    } catch (error) {
      root.render(h("p", { className: "loading" }, `The examples could not be loaded: ${error.message}`));
    }
  }

  const EXAMPLES = document.currentScript.dataset.examples;
  start();
})();
