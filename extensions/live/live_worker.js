// Python beside the page. {site} says where things are, then each {code, fresh} is run: what it
// shows comes back as it comes, at last {done, success}. After {failed} nothing works any more.
self.send = (text) => postMessage(JSON.parse(text)); // called by live.py
const say = (status) => postMessage({ status });
const here = (name) => new URL(name, import.meta.url);
let run;

async function get(name) {
  const response = await fetch(here(name));
  if (!response.ok) throw new Error(`this site lacks ${name}: build the book again`);
  return response;
}

async function distribution({ pyodide, packages }) {
  const home = here(pyodide);
  try {
    say(`Fetching Python from ${home.host} …`);
    const { loadPyodide } = await import(new URL("pyodide.mjs", home));
    const python = await loadPyodide({ indexURL: home.href });
    say(`Fetching ${packages.join(", ")} …`);
    const failed = (text) => { throw new Error(text); };
    await python.loadPackage(packages, { messageCallback() {}, errorCallback: failed });
    return python;
  } catch (error) {
    throw new Error(`${home.host} did not answer (${error.message}): check the network, then run again`);
  }
}

async function load(site) {
  const python = await distribution(site);
  say("Starting Python …");
  python.unpackArchive(await (await get(site.wheel)).arrayBuffer(), "wheel");
  self.language = JSON.stringify([site.words ?? {}, site.phrases ?? {}]);
  python.FS.writeFile("printed.py", await (await get("printed.py")).text());
  python.runPython(await (await get("live.py")).text());
  run = python.globals.get("run");
}

self.onmessage = async ({ data: { site, code, fresh } }) => {
  try {
    if (site) await load(site);
    postMessage({ done: true, success: site ? true : run(code, fresh) });
  } catch (error) {
    postMessage({ failed: `Python did not start: ${error.message}.` });
  }
};
