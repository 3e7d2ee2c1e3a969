// Joined to the end of a module: its element shows what render() makes, in a shadow root, which
// hides the still figure within. A module that fails leaves the figure where it is.
customElements.get(NAME) || customElements.define(NAME, class extends HTMLElement {
  connectedCallback() {
    if (this.shadowRoot) return;
    this.dataset.lmSuppressShortcuts = "true"; // else JupyterLab takes the arrow keys
    const data = JSON.parse(this.getAttribute("data"));
    const el = h("div", { class: "figure" }), root = this.attachShadow({ mode: "open" });
    try {
      render({ model: { get: (key) => data[key] }, el });
      root.append(h("style", {}, CSS), el);
    } catch (error) {
      root.append(h("slot"));
      throw error;
    }
  }
});
