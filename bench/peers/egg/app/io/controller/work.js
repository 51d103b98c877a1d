module.exports = (app) =>
  class extends app.Controller {
    async chat() {
      this.ctx.socket.emit("res", "Hello Man!!");
    }

    async ask() {
      const [, ack] = this.ctx.args;
      ack("Hello Man!!");
    }

    async broadcast() {
      this.app.io.of("/").emit("news", this.ctx.args[0]);
    }

    async echo() {
      this.ctx.socket.emit("echo", this.ctx.args[0]);
    }
  };
