// Calls the gateway over HTTPS as a Java program does: java TlsClient.java URL CA_FILE
//
// java.net.http.HttpClient (HTTP/2 by ALPN) with a trust store of the authorities in CA_FILE alone: a GET, then an
// upload. Prints a line for each, "METHOD PATH STATUS PROTOCOL", and fails where one is no success.

import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class TlsClient {
    public static void main(String[] arguments) throws Exception {
        String base = arguments[0];
        HttpClient client = HttpClient.newBuilder()
            .sslContext(trusting(arguments[1]))
            .connectTimeout(Duration.ofSeconds(60))
            .build();

        send(client, HttpRequest.newBuilder(URI.create(base + "/2.0/users/me")).GET());

        String form = "--b\r\nContent-Disposition: form-data; name=\"attributes\"\r\n\r\n"
            + "{\"name\":\"java.txt\",\"parent\":{\"id\":\"0\"}}\r\n"
            + "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"java.txt\"\r\n"
            + "Content-Type: text/plain\r\n\r\n" + "from Java\n".repeat(20_000) + "\r\n--b--\r\n";
        send(client, HttpRequest.newBuilder(URI.create(base + "/2.0/files/content"))
            .header("Content-Type", "multipart/form-data; boundary=b")
            .POST(HttpRequest.BodyPublishers.ofString(form, StandardCharsets.UTF_8)));
    }

    private static void send(HttpClient client, HttpRequest.Builder builder) throws Exception {
        HttpRequest request = builder.timeout(Duration.ofSeconds(60)).build();
        HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(request.method() + " " + request.uri().getPath() + " " + response.statusCode() + " "
            + response.version());
        if (response.statusCode() / 100 != 2) {
            System.err.println(response.body());
            System.exit(1);
        }
    }

    private static SSLContext trusting(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream pem = new FileInputStream(file)) {
            int number = 0;
            for (Certificate authority : CertificateFactory.getInstance("X.509").generateCertificates(pem)) {
                store.setCertificateEntry("authority-" + number++, authority);
            }
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }
}
