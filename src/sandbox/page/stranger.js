// Runs in a frame whose origin is `null`. Gets a list of attempts and reports how each ended.
addEventListener("message", async ({ data: { gateway, image, folder } }) => {
  const says = (attempt, read, said) => parent.postMessage({ attempt, read, said }, "*");

  try {
    const answer = await fetch(gateway + "/2.0/users/me");
    says("fetch", true, await answer.text());
  } catch (error) {
    says("fetch", false, String(error.message || error));
  }

  if (image) {
    const picture = new Image();
    const loaded = new Promise((resolve) => {
      picture.onload = () => resolve(true);
      picture.onerror = () => resolve(false);
    });
    picture.src = image;
    const read = await loaded;
    says("image", read, read ? "The picture was shown." : "The picture was not delivered.");
  }

  try {
    // This request needs no preflight, and its response cannot be read.
    const body = JSON.stringify(folder);
    await fetch(gateway + "/2.0/folders", { method: "POST", mode: "no-cors", body });
    says("post", false, "Sent; the answer cannot be read.");
  } catch (error) {
    says("post", false, String(error.message || error));
  }
  parent.postMessage({ attempt: "end" }, "*");
});
parent.postMessage({ attempt: "ready" }, "*");
