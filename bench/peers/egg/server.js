require("egg").startCluster({ baseDir: __dirname, port: Number(process.argv[2]), workers: 1 });
