export * from "./types/serversent.js";
